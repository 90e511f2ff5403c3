//! Golden files: what format version 1 looks like, byte by byte. Old files decode to the same values for ever, and
//! today's encoder gives today's bytes.
//!
//! The files under `tests/golden/` are never rewritten. Where a test finds other bytes than a file holds, it leaves the
//! bytes that it made under `target/golden/` and says where: a person who has made a *new* format version copies them
//! to a folder of that version, and keeps the old folder with its tests. (Should a newer lz4 choose other matches, then
//! the old files must still decode to these values, and only the comparison with today's bytes moves on.)
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use holdfast::clock::ManualClock;
use holdfast::codec::footer::{Counts, Footer, FrameEntry, Subject};
use holdfast::codec::frame::pack;
use holdfast::codec::gap::{Gap, GapTable, Reason};
use holdfast::codec::record;
use holdfast::codec::segment::{Flags, Header, ObjectKind, Suite};
use holdfast::codec::session::SessionRecord;
use holdfast::crypto::file::{FileKey, KeyFile};
use holdfast::crypto::recovery::RecoveryIdentity;
use holdfast::crypto::{Keyring, Sealed};
use holdfast::entropy::SeededEntropy;
use holdfast::log::checkpoint::Checkpoint;
use holdfast::log::object::{Object, Seal, draft};
use holdfast::log::rewrap::{self, Rewrapped};
use holdfast::log::{Entry, Hold, LogEnv, Segment, boundary};
use holdfast::model::{BaseId, Commit, Epoch, Kind, LogId, Lsn, ObjectKey, Piece, Position, Record, Role};
use holdfast::model::{Slot, SourceName, Timestamp, Xid};
use holdfast::store::{MemoryStore, Part, layout};

const LOG: LogId = LogId::from_bytes(*b"golden log v1 id");
const BASE: BaseId = BaseId::from_bytes(*b"golden base v1 i");

fn env(suite: Suite) -> LogEnv {
    LogEnv {
        store: Arc::new(MemoryStore::new()),
        keys: Arc::new(Keyring::of_file(key())),
        suite,
        clock: Arc::new(ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000))),
        entropy: Arc::new(SeededEntropy::new(2)),
    }
}

fn key() -> FileKey {
    FileKey::fresh(&SeededEntropy::new(1))
}

fn main_source() -> SourceName {
    "main".parse().unwrap()
}

fn at(number: u64) -> Position {
    Position::new(number)
}

fn micros(number: i64) -> Timestamp {
    Timestamp::from_micros(number)
}

/// The file's bytes, once they have been found to be those that today's encoder gives.
fn golden(name: &str, made: &[u8]) -> Bytes {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1").join(name);
    let frozen = std::fs::read(&file).unwrap_or_default();
    if frozen != made {
        let left = leave(name, made);
        panic!("today's {name} differs from {}; what was made is in {}", file.display(), left.display());
    }
    frozen.into()
}

fn leave(name: &str, made: &[u8]) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/golden/v1");
    std::fs::create_dir_all(&folder).unwrap();
    let place = folder.join(name);
    std::fs::write(&place, made).unwrap();
    place
}

/// A record of every kind, role and piece.
fn records() -> Vec<Record> {
    let commit = |position, time| Role::Commits(Commit { position: at(position), time: micros(time) });
    let gap = gap();
    let piece = |piece, wire: &'static [u8]| Record { piece, ..Record::wire(Role::Inside, Bytes::from_static(wire)) };
    vec![
        Record::own(Kind::Session, Bytes::from_static(b"session")),
        Record { kind: Kind::Context, ..Record::wire(Role::Opens(Xid::new(7)), Bytes::from_static(b"begin again")) },
        Record::own(Kind::Context, Bytes::from_static(b"relation")),
        Record::wire(Role::Opens(Xid::new(8)), Bytes::from_static(b"begin")),
        Record::wire(Role::Inside, Bytes::from(vec![b'r'; 300])),
        piece(Piece::First, b"one "),
        piece(Piece::Middle, b"long "),
        piece(Piece::Last, b"message"),
        Record::wire(commit(0x100, 1_699_999_999_000_000), Bytes::from_static(b"commit")),
        Record::wire(Role::Outside, Bytes::new()),
        Record { role: commit(0x180, i64::MIN), ..Record::own(Kind::Heartbeat, Bytes::new()) },
        Record::own(Kind::Gap, gap.encode()),
    ]
}

fn gap() -> Gap {
    let table = GapTable { id: 16_384, schema: "public".to_owned(), name: "tür".to_owned() };
    let (exact_until, time, reason) = (at(0x200), micros(-5), Reason::SlotAhead);
    Gap { exact_until, time, reason, tables: vec![table], detail: "überholt".to_owned() }
}

fn frame_of(records: &[Record]) -> Vec<u8> {
    let mut plain = Vec::new();
    for record in records {
        record::encode(record, &mut plain);
    }
    plain
}

fn header() -> Header {
    Header {
        flags: Flags::HOLDS_GAP.with(Flags::HOLDS_MARK),
        slot: Slot::new(0x1234),
        from: at(0x80),
        to: at(0x180),
        from_time: Timestamp::MIN,
        to_time: micros(1_699_999_999_000_000),
        needs_from: Slot::new(0x1233),
        previous: [0xAB; 32],
        ..draft(ObjectKind::Data)
    }
}

fn footer(frames: Vec<FrameEntry>) -> Footer {
    let counts = Counts { inserts: 1, updates: 2, deletes: 3, truncates: 4 };
    Footer {
        frames,
        records: 12,
        transactions: 1,
        xid_least: Xid::new(8),
        xid_most: Xid::new(8),
        subjects: vec![Subject { id: 16_384, name: "public.tür".to_owned(), counts }],
        gaps: vec![gap()],
    }
}

fn segment(suite: Suite) -> Sealed {
    let all = records();
    let frames = [pack(&frame_of(&all[..9])), pack(&frame_of(&all[9..]))];
    let mut seal = at_once(Seal::begin(&env(suite), *LOG.as_bytes(), Epoch::new(3))).unwrap();
    let sealed = seal.seal(&header(), &frames, |places| {
        let entries = places.iter().zip(&frames).zip([(0x100, 1), (0x180, 0)]);
        let entries = entries.map(|((place, frame), (to, transactions))| FrameEntry {
            at: place.at,
            sealed_bytes: place.bytes,
            plain_bytes: frame.plain_bytes,
            to: at(to),
            to_time: micros(1_699_999_999_000_000),
            transactions,
        });
        footer(entries.collect()).encode()
    });
    sealed.unwrap()
}

/// What a key file opens and seals never waits.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().unwrap()
}

fn open(key: &ObjectKey, bytes: Bytes) -> Object {
    let env = LogEnv { keys: Arc::new(Keyring::of_file(key_of_v1())), ..env(Suite::default()) };
    at_once(Object::open(&env, key, bytes)).unwrap()
}

/// The key of the golden files, as its own golden file tells it.
fn key_of_v1() -> FileKey {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    FileKey::fresh(&SeededEntropy::new(0)).write_new(&path).unwrap();
    let frozen = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1/key.txt");
    std::fs::write(&path, std::fs::read(frozen).unwrap()).unwrap();
    FileKey::read(&path).unwrap()
}

#[test]
fn a_key_file_of_version_1_is_written_and_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    key().write_new(&path).unwrap();
    golden("key.txt", &std::fs::read(&path).unwrap());
    assert_eq!(key_of_v1().id(), key().id());
    assert_eq!(key().id().to_string(), "d63de2057e726db9c4d0610dbbf80ea7");
}

#[test]
fn a_segment_of_version_1_holds_every_kind_role_and_piece() {
    for (name, suite) in [("data.bin", Suite::ChaCha20Poly1305), ("data_aes.bin", Suite::Aes256Gcm)] {
        let bytes = golden(name, segment(suite).as_bytes());
        let listed = Entry::of_header(&Header { suite, epoch: Epoch::new(3), ..header() });
        let listed = Entry { sealed_at: micros(1_700_000_000_000_000), ..listed };
        let mut segment = at_once(Segment::open(&env(suite), LOG, &main_source(), &listed, bytes.clone())).unwrap();
        assert_eq!(segment.header().suite, suite);
        assert_eq!((segment.header().previous, segment.header().wraps.len()), ([0xAB; 32], 1));
        assert_eq!(segment.footer, footer(segment.footer.frames.clone()));
        let ends: Vec<_> = segment.footer.frames.iter().map(|frame| (frame.to, frame.transactions)).collect();
        assert_eq!(ends, [(at(0x100), 1), (at(0x180), 0)]);
        let mut read = segment.next_frame().unwrap().unwrap();
        assert_eq!(read.len(), 9, "the first frame");
        read.extend(segment.next_frame().unwrap().unwrap());
        assert!(segment.next_frame().unwrap().is_none());
        assert_eq!(read, records());
    }
}

#[test]
fn a_heartbeat_and_a_fence_of_version_1_are_segments() {
    let mut seal = at_once(Seal::begin(&env(Suite::default()), *LOG.as_bytes(), Epoch::new(4))).unwrap();
    let beat = Record {
        role: Role::Commits(Commit { position: at(0x190), time: micros(1) }),
        ..Record::own(Kind::Heartbeat, Bytes::new())
    };
    let frames = [pack(&frame_of(std::slice::from_ref(&beat)))];
    let header = Header { from: at(0x180), to: at(0x190), flags: Flags::default(), ..header() };
    let draft = |kind, slot| Header { kind, slot: Slot::new(slot), needs_from: Slot::new(slot), ..header.clone() };
    let index = Footer { records: 1, ..Footer::default() }.encode();
    let heartbeat = seal.seal(&draft(ObjectKind::Heartbeat, 0x1235), &frames, |_| index).unwrap();
    let fence = seal.seal(&draft(ObjectKind::Fence, 0x1236), &[], |_| Footer::default().encode()).unwrap();
    #[rustfmt::skip]
    let cases = [
        ("heartbeat.bin", heartbeat, ObjectKind::Heartbeat, 0x1235_u64, vec![beat]),
        ("fence.bin",     fence,     ObjectKind::Fence,     0x1236,     vec![]),
    ];
    for (name, sealed, kind, slot, records) in cases {
        let bytes = golden(name, sealed.as_bytes());
        let listed = Entry::of_header(&Header { epoch: Epoch::new(4), ..draft(kind, slot) });
        let listed = Entry { sealed_at: micros(1_700_000_000_000_000), ..listed };
        let mut segment = at_once(Segment::open(&env(Suite::default()), LOG, &main_source(), &listed, bytes)).unwrap();
        let mut read = Vec::new();
        while let Some(frame) = segment.next_frame().unwrap() {
            read.extend(frame);
        }
        assert_eq!(read, records, "{name}");
    }
}

fn entries() -> Vec<Entry> {
    let first = Entry { hash: Some([0x11; 32]), bytes: 4711, ..Entry::of_header(&header()) };
    let void = Entry { slot: first.slot.next(), void: true, hash: None, bytes: 0, ..first.clone() };
    vec![first, void]
}

#[test]
fn a_checkpoint_and_a_boundary_of_version_1_say_what_came_before() {
    let mut seal = at_once(Seal::begin(&env(Suite::default()), *LOG.as_bytes(), Epoch::new(5))).unwrap();
    let checkpoint = Checkpoint { previous: Slot::new(0x1233), entries: entries() };
    let bytes = golden("checkpoint.bin", checkpoint.seal(&mut seal).unwrap().as_bytes());
    let object = open(&layout::checkpoint(&main_source(), checkpoint.slot()), bytes);
    assert_eq!(Checkpoint::read(object).unwrap(), checkpoint);

    let first = entries().remove(0);
    let bytes = golden("boundary.bin", boundary::seal(&first, [0x22; 32], &mut seal).unwrap().as_bytes());
    let object = open(&layout::boundary(&main_source(), first.slot), bytes);
    let header = boundary::read(object).unwrap();
    assert_eq!((header.slot, header.from, header.previous), (first.slot, first.from, [0x22; 32]));
}

#[test]
fn a_hold_of_version_1_says_what_is_kept() {
    let mut seal = at_once(Seal::begin(&env(Suite::default()), *LOG.as_bytes(), Epoch::new(0))).unwrap();
    let (from, to) = (micros(1_699_999_999_000_000), Timestamp::MAX);
    let hold = Hold { name: "case-17".parse().unwrap(), from, to };
    let bytes = golden("hold.bin", hold.seal(&mut seal).unwrap().as_bytes());
    let object = open(&layout::hold(&main_source(), &hold.name), bytes);
    assert_eq!(Hold::read(object).unwrap(), hold);
}

#[test]
fn the_record_of_a_session_of_version_1_says_which_server_and_where() {
    let server = SessionRecord::of_server(7_523_446_218_947_563_214, 1);
    let before_publications = SessionRecord {
        database: Some("shop".to_owned()),
        server_version: Some(150_020),
        slot: Some("holdfast_main".to_owned()),
        start: Some(Lsn::new(0x300_0148)),
        ..server.clone()
    };
    let publications = Some(vec!["holdfast".to_owned(), "holdfast_keyed".to_owned()]);
    let whole = SessionRecord { publications, ..before_publications.clone() };
    #[rustfmt::skip]
    let files = [
        ("session.json",                        whole),
        ("session-before-publications.json",    before_publications),
        ("session-server.json",                 server),
    ];
    for (name, session) in files {
        let bytes = golden(name, session.encode().as_bytes());
        assert_eq!(SessionRecord::decode(&bytes), Ok(session), "{name}");
    }
}

#[test]
fn the_containers_of_a_base_of_version_1_open() {
    let mut seal = at_once(Seal::begin(&env(Suite::default()), *BASE.as_bytes(), Epoch::new(0))).unwrap();
    let source = main_source();
    let cases = [
        ("base_part.bin", ObjectKind::BasePart, 3, layout::base_part(&source, BASE, 3)),
        ("manifest.bin", ObjectKind::Manifest, 0, layout::manifest(&source, BASE)),
    ];
    for (name, kind, number, key) in cases {
        let draft = Header { slot: Slot::new(number), ..draft(kind) };
        let frames = [pack(b"1\tone\n"), pack(&b"2\ttwo\n".repeat(50))];
        let bytes = golden(name, seal.seal(&draft, &frames, |_| b"the end".to_vec()).unwrap().as_bytes());
        let mut object = open(&key, bytes);
        assert_eq!(object.header.kind, kind);
        assert_eq!(object.next_frame().unwrap().unwrap(), &b"1\tone\n"[..]);
        assert_eq!(object.next_frame().unwrap().unwrap(), b"2\ttwo\n".repeat(50));
        assert_eq!(object.footer().unwrap(), b"the end");
    }
}

/// What a rewrap and a recovery key add to version 1: two recipients in a header, and an object that carries later wraps.
#[test]
fn a_recovery_wrap_and_a_rewrap_of_version_1_open() {
    let identity = RecoveryIdentity::fresh(&SeededEntropy::new(5));
    let secret = "AGE-SECRET-KEY-1";
    assert!(identity.secret_text().starts_with(secret));
    let keys = Keyring::of_file(key()).with_recovery(Some(identity.public()));
    let env = LogEnv { keys: Arc::new(keys), ..env(Suite::default()) };
    let mut seal = at_once(Seal::begin(&env, *LOG.as_bytes(), Epoch::new(6))).unwrap();
    let draft = Header { slot: Slot::new(7), ..draft(ObjectKind::Fence) };
    let sealed = seal.seal(&draft, &[], |_| b"the end".to_vec()).unwrap();
    let bytes = golden("recovery.bin", sealed.as_bytes());
    let name = layout::segment(&main_source(), Slot::new(7));
    let file = KeyFile { keys: Vec::new(), identities: vec![identity] };
    let offline = LogEnv { keys: Arc::new(Keyring::of_key_file(file)), ..env.clone() };
    let opened = at_once(Object::open(&offline, &name, bytes.clone())).unwrap();
    assert_eq!(opened.footer().unwrap(), b"the end");
    let recipients: Vec<_> = opened.header.wraps.iter().map(|wrap| wrap.recipient.tag()).collect();
    assert_eq!(recipients, [1, 3]);

    let new = FileKey::fresh(&SeededEntropy::new(6));
    let both = KeyFile { keys: vec![new.clone(), key()], identities: Vec::new() };
    let both = LogEnv { keys: Arc::new(Keyring::of_key_file(both)), ..env.clone() };
    assert_eq!(at_once(rewrap::wrap_again(&both, &opened.header)).unwrap(), Rewrapped::Now);
    let listed = at_once(env.store.list("keys/", None)).unwrap();
    let bytes_of = at_once(env.store.get(&listed[0], Part::Whole)).unwrap();
    golden("rewrap.bin", bytes_of.as_bytes());
    assert_eq!(listed[0].as_str(), "keys/f4f296c20e2f5a82839e5ade454afdc2/721245cebff362163be3b3a23fc9978c.rewrap");
    let new_alone = LogEnv { keys: Arc::new(Keyring::of_file(new)), ..env };
    assert_eq!(at_once(Object::open(&new_alone, &name, bytes)).unwrap().footer().unwrap(), b"the end");
}
