//! No bytes at all make a decoder panic, hang or take more memory than they are worth (L4, L8).
//!
//! Each decoder is a line in [`DECODERS`] with valid samples; they are fed to it mutated, and random bytes besides,
//! from a fixed seed: a failure prints its round and comes again.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::hint::black_box;
use std::panic::catch_unwind;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use holdfast::clock::ManualClock;
use holdfast::codec::base::Manifest;
use holdfast::codec::footer::Footer;
use holdfast::codec::frame::{PLAIN_BYTES_MAX, Packing, pack, unpack};
use holdfast::codec::gap::Gap;
use holdfast::codec::pgoutput;
use holdfast::codec::pgoutput::Message;
use holdfast::codec::record;
use holdfast::codec::rowsum::RowSplitter;
use holdfast::codec::segment::Header;
use holdfast::codec::segment::Suite;
use holdfast::codec::session::SessionRecord;
use holdfast::codec::sqltext;
use holdfast::codec::trailer::{TRAILER_BYTES, Trailer};
use holdfast::codec::wire::Reader;
use holdfast::crypto::Keyring;
use holdfast::crypto::file::FileKey;
use holdfast::entropy::SeededEntropy;
use holdfast::log::checkpoint::Checkpoint;
use holdfast::log::entry::ENTRY_BYTES;
use holdfast::log::object::Object;
use holdfast::log::{LogEnv, ObjectError};
use holdfast::model::Timestamp;
use holdfast::store::MemoryStore;

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
const DECODERS: [Decoder; 15] = [
    Decoder { name: "record",           decode: records,          samples: frames_of_records },
    Decoder { name: "frame",            decode: frame,            samples: packed_frames },
    Decoder { name: "header",           decode: header,           samples: sealed_objects },
    Decoder { name: "trailer",          decode: trailer,          samples: trailers },
    Decoder { name: "footer",           decode: footer,           samples: footers },
    Decoder { name: "gap",              decode: gap,              samples: gaps },
    Decoder { name: "session",          decode: session,          samples: sessions },
    Decoder { name: "checkpoint",       decode: checkpoint,       samples: checkpoints },
    Decoder { name: "sealed object",    decode: object,           samples: sealed_objects },
    Decoder { name: "wire",             decode: wire,             samples: captured_messages },
    Decoder { name: "pgoutput message", decode: pgoutput_message, samples: captured_messages },
    Decoder { name: "pgoutput peek",    decode: pgoutput_peek,    samples: captured_messages },
    Decoder { name: "base manifest",    decode: base_manifest,    samples: manifests },
    Decoder { name: "schema text",      decode: schema_text,      samples: dumps },
    Decoder { name: "rows",             decode: rows,             samples: dumps },
];

fn records(bytes: &[u8]) {
    let (frame, mut at) = (Bytes::copy_from_slice(bytes), 0);
    while let Ok(Some(record)) = record::decode(&frame, &mut at) {
        assert!(record.wire.len() <= bytes.len() && at <= bytes.len());
    }
}

fn frame(bytes: &[u8]) {
    let mut reader = Reader::new(bytes);
    let (Ok(tag), Ok(plain_bytes)) = (reader.u8(), reader.u32_le()) else { return };
    if let Ok(plain) = Packing::from_tag(tag).and_then(|how| unpack(how, plain_bytes, reader.rest(), PLAIN_BYTES_MAX)) {
        assert_eq!(plain.len(), usize::try_from(plain_bytes).unwrap());
    }
}

fn header(bytes: &[u8]) {
    if let Ok((header, length)) = Header::decode(bytes) {
        assert_eq!(header.encode(), bytes[..length]);
    }
}

fn trailer(bytes: &[u8]) {
    if let Ok(trailer) = Trailer::decode(bytes) {
        assert_eq!(trailer.encode(), bytes);
    }
}

fn footer(bytes: &[u8]) {
    if let Ok(footer) = Footer::decode(bytes) {
        assert_eq!(footer.encode(), bytes);
    }
}

fn gap(bytes: &[u8]) {
    if let Ok(gap) = Gap::decode(bytes) {
        assert_eq!(gap.encode(), bytes);
    }
}

fn session(bytes: &[u8]) {
    if let Ok(session) = SessionRecord::decode(bytes) {
        assert_eq!(SessionRecord::decode(session.encode().as_bytes()), Ok(session));
    }
}

fn checkpoint(bytes: &[u8]) {
    if let Ok(checkpoint) = Checkpoint::decode(bytes) {
        assert_eq!(checkpoint.entries.len() * ENTRY_BYTES + 12, bytes.len());
    }
}

/// What opens is what was sealed: nothing that was changed does.
fn object(bytes: &[u8]) {
    let opened = open(Bytes::copy_from_slice(bytes)).and_then(|mut object| {
        while object.next_frame()?.is_some() {}
        object.footer()
    });
    assert!(opened.is_err() || sealed_objects().iter().any(|sealed| sealed == bytes));
}

fn open(bytes: Bytes) -> Result<Object, ObjectError> {
    let env = LogEnv {
        store: Arc::new(MemoryStore::new()),
        keys: Arc::new(Keyring::of_file(golden_key())),
        suite: Suite::default(),
        clock: Arc::new(ManualClock::new(Timestamp::default())),
        entropy: Arc::new(SeededEntropy::new(1)),
    };
    let name = "log/main/0000000000000001.seg".parse().unwrap();
    Object::open(&env, &name, bytes).now_or_never().expect("a key file opens at once")
}

fn golden_key() -> FileKey {
    FileKey::fresh(&SeededEntropy::new(1))
}

fn sealed_objects() -> Vec<Vec<u8>> {
    vec![
        include_bytes!("golden/v1/data.bin").to_vec(),
        include_bytes!("golden/v1/data_aes.bin").to_vec(),
        include_bytes!("golden/v1/heartbeat.bin").to_vec(),
        include_bytes!("golden/v1/fence.bin").to_vec(),
        include_bytes!("golden/v1/checkpoint.bin").to_vec(),
        include_bytes!("golden/v1/boundary.bin").to_vec(),
        include_bytes!("golden/v1/base_part.bin").to_vec(),
        include_bytes!("golden/v1/manifest.bin").to_vec(),
        include_bytes!("golden/v1/recovery.bin").to_vec(),
        include_bytes!("golden/v1/rewrap.bin").to_vec(),
    ]
}

fn trailers() -> Vec<Vec<u8>> {
    sealed_objects().iter().map(|object| object[object.len() - TRAILER_BYTES..].to_vec()).collect()
}

/// Opens the golden objects: what their seals hold are the samples of what reads it.
fn opened(nth: usize) -> (Vec<Vec<u8>>, Vec<u8>) {
    let mut object = open(sealed_objects()[nth].clone().into()).unwrap();
    let frames = std::iter::from_fn(|| object.next_frame().unwrap()).map(Vec::from).collect();
    (frames, object.footer().unwrap())
}

fn frames_of_records() -> Vec<Vec<u8>> {
    opened(0).0
}

fn packed_frames() -> Vec<Vec<u8>> {
    let pack = |plain: &Vec<u8>| {
        let packed = pack(plain);
        [&[packed.packing.tag()], &packed.plain_bytes.to_le_bytes()[..], &packed.body].concat()
    };
    [opened(0).0, opened(6).0].concat().iter().map(pack).collect()
}

fn footers() -> Vec<Vec<u8>> {
    vec![opened(0).1, opened(3).1]
}

fn gaps() -> Vec<Vec<u8>> {
    let gaps = Footer::decode(&opened(0).1).unwrap().gaps;
    gaps.iter().map(|gap| gap.encode().to_vec()).collect()
}

fn checkpoints() -> Vec<Vec<u8>> {
    opened(4).0
}

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

fn sessions() -> Vec<Vec<u8>> {
    vec![
        include_bytes!("golden/v1/session.json").to_vec(),
        include_bytes!("golden/v1/session-before-publications.json").to_vec(),
        include_bytes!("golden/v1/session-server.json").to_vec(),
    ]
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
