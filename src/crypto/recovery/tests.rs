//! A recovery pair reads and writes age's own text, opens its own wraps for their own log, and nothing else.

use proptest::prelude::*;

use super::*;
use crate::entropy::SeededEntropy;

const CONTEXT: KeyContext = KeyContext { stream: [3; 16], epoch: Epoch::new(7) };

fn pair(seed: u64) -> (RecoveryIdentity, RecoveryKey) {
    let identity = RecoveryIdentity::fresh(&SeededEntropy::new(seed));
    let public = identity.public();
    (identity, public)
}

/// The pair of rage's unit tests: the same secret must have the same public half.
#[test]
fn a_pair_that_age_made_is_read_as_age_reads_it() {
    let secret = "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33";
    let identity: RecoveryIdentity = secret.parse().unwrap();
    assert_eq!(identity.secret_text().as_str(), secret);
    assert_eq!(
        identity.public().to_string(),
        "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa",
        "another implementation's public half"
    );
}

#[test]
fn a_letter_typed_wrongly_is_noticed_in_either_half() {
    let (identity, public) = pair(1);
    for (text, public) in [(public.to_string(), true), (identity.secret_text().to_string(), false)] {
        for at in 0..text.len() {
            let mut typed = text.clone();
            let other = if text.as_bytes()[at] == b'q' || text.as_bytes()[at] == b'Q' { "p" } else { "q" };
            typed.replace_range(at..=at, other);
            let read = if public {
                typed.parse::<RecoveryKey>().map(drop)
            } else {
                typed.parse::<RecoveryIdentity>().map(drop)
            };
            assert!(read.is_err(), "letter {at}");
        }
    }
}

#[test]
fn the_private_half_is_never_printed() {
    let (identity, _) = pair(2);
    let shown = format!("{identity:?}");
    assert!(!shown.contains(&hex::encode(identity.0)) && !shown.contains("AGE-SECRET"), "{shown}");
}

#[test]
fn a_wrap_opens_for_its_own_key_log_and_epoch_alone() {
    let (identity, public) = pair(3);
    let data = DataKey::fresh(&SeededEntropy::new(4));
    let wrap = public.wrap(&data, &CONTEXT, &SeededEntropy::new(5)).unwrap();
    assert_eq!(identity.unwrap(&wrap, &CONTEXT).unwrap().as_bytes(), data.as_bytes());
    // The epoch is the one that the key was made in, which the wrap names; the object's own is bound elsewhere.
    let later = KeyContext { epoch: Epoch::new(8), ..CONTEXT };
    assert_eq!(identity.unwrap(&wrap, &later).unwrap().as_bytes(), data.as_bytes());
    let other_log = KeyContext { stream: [4; 16], ..CONTEXT };
    assert!(identity.unwrap(&wrap, &other_log).is_none());
    assert!(pair(6).0.unwrap(&wrap, &CONTEXT).is_none());
}

#[test]
fn a_share_that_agrees_with_everybody_wraps_nothing_and_opens_nothing() {
    let data = DataKey::fresh(&SeededEntropy::new(4));
    assert!(RecoveryKey([0; 32]).wrap(&data, &CONTEXT, &SeededEntropy::new(5)).is_none());
    let (identity, public) = pair(3);
    let mut wrap = public.wrap(&data, &CONTEXT, &SeededEntropy::new(5)).unwrap();
    wrap.bytes[8..40].fill(0);
    assert!(identity.unwrap(&wrap, &CONTEXT).is_none());
}

/// Such a key in a configuration would have left every data key without its promised second recipient.
#[test]
fn a_public_half_that_agrees_with_everybody_is_refused_where_it_is_written() {
    #[rustfmt::skip]
    let weak = [
        ("0000000000000000000000000000000000000000000000000000000000000000", "zero"),
        ("0100000000000000000000000000000000000000000000000000000000000000", "one"),
        ("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800", "of order eight"),
        ("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157", "the other of order eight"),
        ("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", "p - 1"),
        ("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", "p, which is zero"),
        ("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", "p + 1, which is one"),
    ];
    for (point, why) in weak {
        let text = RecoveryKey(hex::decode(point).unwrap().try_into().unwrap()).to_string();
        assert_eq!(text.parse::<RecoveryKey>(), Err(RecoveryKeyError::Weak), "{why}");
    }
}

proptest! {
    #[test]
    fn both_halves_are_read_as_they_were_written(seed: u64) {
        let (identity, public) = pair(seed);
        prop_assert_eq!(public.to_string().parse::<RecoveryKey>().unwrap(), public);
        prop_assert_eq!(identity.secret_text().parse::<RecoveryIdentity>().unwrap().0, identity.0);
    }

    #[test]
    fn no_flipped_bit_and_no_cut_of_a_wrap_opens(bit in 0..88_usize * 8, cut in 0..88_usize) {
        let (identity, public) = pair(9);
        let data = DataKey::fresh(&SeededEntropy::new(4));
        let wrap = public.wrap(&data, &CONTEXT, &SeededEntropy::new(5)).unwrap();
        prop_assert_eq!(wrap.bytes.len(), 88);
        let mut flipped = wrap.clone();
        flipped.bytes[bit / 8] ^= 1 << (bit % 8);
        // The top bit of a share is masked away (RFC 7748), yet the salt holds it as it stands.
        prop_assert!(identity.unwrap(&flipped, &CONTEXT).is_none());
        let mut short = wrap;
        short.bytes.truncate(cut);
        prop_assert!(identity.unwrap(&short, &CONTEXT).is_none());
    }

    #[test]
    fn any_bytes_at_all_are_no_key_and_no_wrap(text: String, bytes: Vec<u8>) {
        prop_assert!(text.parse::<RecoveryKey>().is_err() && text.parse::<RecoveryIdentity>().is_err());
        let wrap = Wrap { recipient: Recipient::Recovery, key: pair(1).1.id(), bytes };
        prop_assert!(pair(1).0.unwrap(&wrap, &CONTEXT).is_none());
    }
}
