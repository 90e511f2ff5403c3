//! No bytes at all make a decoder panic, hang or take more memory than they are worth (L4, L8).
//!
//! Each decoder is a line in [`DECODERS`] with valid samples; they are fed to it mutated, and random bytes besides,
//! from a fixed seed: a failure prints its round and comes again.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::hint::black_box;
use std::panic::catch_unwind;

use holdfast::codec::base::Manifest;
use holdfast::codec::pgoutput;
use holdfast::codec::pgoutput::Message;
use holdfast::codec::rowsum::RowSplitter;
use holdfast::codec::sqltext;
use holdfast::codec::wire::Reader;
use holdfast::entropy::SeededEntropy;

/// Mutated samples and random inputs for each decoder.
const ROUNDS: u64 = 2_000;
/// Random inputs are at most this long.
const RANDOM_BYTES_MAX: u64 = 400;
/// An input that is large and says nothing: a decoder that allocates by what a length field claims shows here.
const LARGE_BYTES: usize = 1 << 20;

struct Decoder {
    name: &'static str,
    decode: fn(&[u8]),
    samples: fn() -> Vec<Vec<u8>>,
}

#[rustfmt::skip]
const DECODERS: [Decoder; 6] = [
    Decoder { name: "wire",             decode: wire,             samples: captured_messages },
    Decoder { name: "pgoutput message", decode: pgoutput_message, samples: captured_messages },
    Decoder { name: "pgoutput peek",    decode: pgoutput_peek,    samples: captured_messages },
    Decoder { name: "base manifest",    decode: base_manifest,    samples: manifests },
    Decoder { name: "schema text",      decode: schema_text,      samples: dumps },
    Decoder { name: "rows",             decode: rows,             samples: dumps },
];

fn wire(bytes: &[u8]) {
    let mut reader = Reader::new(bytes);
    let _ = black_box((reader.u8(), reader.u16_be(), reader.u32_le(), reader.i64_be(), reader.cstr_utf8()));
    let count = reader.u32_be().map_or(0, |count| usize::try_from(count).unwrap());
    let _ = black_box((reader.take(count), reader.cstr(), reader.array::<7>(), reader.u128_le(), reader.finish()));
}

fn pgoutput_message(bytes: &[u8]) {
    let Ok(message) = Message::decode(bytes) else { return };
    let mut again = Vec::new();
    message.encode(&mut again);
    // Unused bits of a column's flags are not kept, so bytes may differ; what they say may not.
    assert_eq!(Message::decode(&again).as_ref(), Ok(&message));
    if let Message::Insert { new, .. } | Message::Update { new, .. } = message {
        assert_eq!(new.columns().count(), usize::from(new.count()), "a checked row has all its values");
    }
}

fn pgoutput_peek(bytes: &[u8]) {
    if let Ok(pgoutput::Peek::Truncate { relids: Some(relids) }) = pgoutput::peek(bytes) {
        assert_eq!(relids.iter().count(), relids.count());
    }
}

fn base_manifest(bytes: &[u8]) {
    if let Ok(manifest) = Manifest::decode(bytes) {
        assert_eq!(Manifest::decode(&manifest.encode().unwrap()).unwrap(), manifest);
    }
}

fn schema_text(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = black_box(sqltext::entries(&text));
    let _ = black_box(sqltext::statements(&text));
}

fn rows(bytes: &[u8]) {
    let mut splitter = RowSplitter::default();
    bytes.chunks(7).for_each(|chunk| splitter.push(chunk));
    let ended = bytes.last().is_none_or(|&last| last == b'\n');
    assert_eq!(splitter.finish().is_ok(), ended);
}

fn captured_messages() -> Vec<Vec<u8>> {
    let lines = [include_str!("golden/pgoutput/messages.hex"), include_str!("golden/pgoutput/binary.hex")];
    lines.iter().flat_map(|text| text.lines()).map(|line| hex::decode(line).unwrap()).collect()
}

fn manifests() -> Vec<Vec<u8>> {
    vec![include_bytes!("golden/base/manifest-1.json").to_vec()]
}

fn dumps() -> Vec<Vec<u8>> {
    vec![
        include_bytes!("golden/pg_dump/pre-data.sql").to_vec(),
        include_bytes!("golden/pg_dump/post-data.sql").to_vec(),
        include_bytes!("golden/pg_dump/globals.sql").to_vec(),
    ]
}

fn index(random: &SeededEntropy, end: usize) -> usize {
    usize::try_from(random.below(u64::try_from(end.max(1)).unwrap())).unwrap()
}

/// One to four things that happen to bytes: a bit, a byte, a cut, a piece twice or gone, a length that is all ones.
fn mutate(random: &SeededEntropy, mut bytes: Vec<u8>) -> Vec<u8> {
    for _ in 0..=random.below(4) {
        let (from, to) = (index(random, bytes.len()), index(random, bytes.len()));
        let (from, to) = (from.min(to), from.max(to));
        match random.below(7) {
            _ if bytes.is_empty() => bytes.push(0),
            0 => bytes[from] ^= 1_u8 << random.below(8),
            1 => bytes[from] = random.next_u64().to_le_bytes()[0],
            2 => bytes.truncate(to),
            3 => drop(bytes.drain(from..to)),
            4 => bytes.extend_from_within(from..to),
            5 => bytes[from..to.min(from + 4)].fill(0xFF),
            _ => bytes.insert(from, random.next_u64().to_le_bytes()[0]),
        }
    }
    bytes
}

fn random_bytes(random: &SeededEntropy) -> Vec<u8> {
    (0..random.below(RANDOM_BYTES_MAX)).map(|_| random.next_u64().to_le_bytes()[0]).collect()
}

fn feed(decoder: &Decoder, bytes: &[u8], what: &str) {
    let survived = catch_unwind(|| (decoder.decode)(bytes));
    assert!(survived.is_ok(), "{} panicked at {what}: {}", decoder.name, hex::encode(&bytes[..bytes.len().min(4096)]));
}

#[test]
fn l4_no_bytes_make_a_decoder_panic() {
    for (number, decoder) in (0_u64..).zip(&DECODERS) {
        let (random, samples) = (SeededEntropy::new(number), (decoder.samples)());
        for round in 0..ROUNDS {
            let sample = samples[index(&random, samples.len())].clone();
            feed(decoder, &mutate(&random, sample), &format!("mutated sample, round {round}"));
            feed(decoder, &random_bytes(&random), &format!("random bytes, round {round}"));
        }
    }
}

#[test]
fn every_cut_of_every_sample_is_survived() {
    for decoder in &DECODERS {
        for sample in (decoder.samples)() {
            for cut in (0..=sample.len()).rev().take(2_000) {
                feed(decoder, &sample[..cut], &format!("cut after {cut} bytes"));
            }
        }
    }
}

#[test]
fn l8_large_inputs_that_say_nothing_are_done_with_at_once() {
    for decoder in &DECODERS {
        for byte in [0, b'\n', b'(', b'-', b'\'', b'$', b'[', b'I', 0xFF] {
            feed(decoder, &vec![byte; LARGE_BYTES], &format!("a megabyte of byte {byte}"));
        }
        for sample in (decoder.samples)() {
            let mut claims = sample.clone();
            claims.resize(LARGE_BYTES, 0xFF);
            feed(decoder, &claims, "a sample followed by a megabyte of ones");
        }
    }
}
