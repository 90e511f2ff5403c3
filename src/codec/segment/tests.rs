//! A header returns as it was written, and no changed bit of it goes unseen.

use proptest::prelude::*;

use super::*;

fn header(seed: u64, wraps: usize) -> Header {
    let wrap = Wrap { recipient: Recipient::KeyFile, key: KeyId::from_bytes([9; 16]), bytes: vec![7; 80] };
    Header {
        kind: ObjectKind::ALL[seed as usize % ObjectKind::ALL.len()],
        suite: if seed.is_multiple_of(2) { Suite::ChaCha20Poly1305 } else { Suite::Aes256Gcm },
        flags: Flags::HOLDS_GAP.with(Flags::STARTS_INSIDE),
        stream: [3; 16],
        epoch: Epoch::new(seed),
        slot: Slot::new(seed ^ 1),
        from: Position::new(seed ^ 2),
        to: Position::new(seed ^ 3),
        from_time: Timestamp::MIN,
        to_time: Timestamp::from_micros(5),
        needs_from: Slot::new(seed ^ 4),
        sealed_at: Timestamp::from_micros(6),
        previous: [1; 32],
        salt: [2; 32],
        commitment: [4; 32],
        wraps: vec![wrap; wraps],
    }
}

proptest! {
    #[test]
    fn a_header_returns_as_it_was(seed: u64, wraps in 0..4_usize, behind in proptest::collection::vec(any::<u8>(), 0..9)) {
        let header = header(seed, wraps);
        let mut bytes = header.encode();
        let length = bytes.len();
        bytes.extend(behind);
        prop_assert_eq!(Header::decode(&bytes).unwrap(), (header, length));
    }

    #[test]
    fn a_cut_header_is_an_error(seed: u64, cut: prop::sample::Index) {
        let bytes = header(seed, 1).encode();
        prop_assert!(Header::decode(&bytes[..cut.index(bytes.len())]).is_err());
    }

    #[test]
    fn no_bytes_at_all_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _whatever = Header::decode(&bytes);
    }
}

#[test]
fn no_flipped_bit_of_a_header_goes_unseen() {
    let bytes = header(42, 2).encode();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(Header::decode(&flipped).is_err(), "bit {bit}");
    }
}
