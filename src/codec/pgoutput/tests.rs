//! The messages of a real server and made-up ones, read, glanced at, cut and written back.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::model::limits::PIECE_BYTES_MAX;

const TEXT: &str = include_str!("../../../tests/golden/pgoutput/messages.hex");
const BINARY: &str = include_str!("../../../tests/golden/pgoutput/binary.hex");

fn captured(hex_lines: &str) -> Vec<Vec<u8>> {
    hex_lines.lines().map(|line| hex::decode(line).unwrap()).collect()
}

fn encoded(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    bytes
}

fn show(column: Column) -> String {
    match column {
        Column::Null => "null".to_owned(),
        Column::Unchanged => "unchanged".to_owned(),
        Column::Text(value) if value.len() > 99 => format!("{} bytes", value.len()),
        Column::Text(value) => format!("{:?}", std::str::from_utf8(value).unwrap()),
        Column::Binary(value) => hex::encode(value),
    }
}

fn row(tuple: Tuple) -> String {
    tuple.columns().map(show).collect::<Vec<_>>().join(" ")
}

fn rows(message: &Message) -> Option<String> {
    let was = |old: &OldRow| match old {
        OldRow::Key(tuple) => format!("key {}", row(*tuple)),
        OldRow::Full(tuple) => format!("full {}", row(*tuple)),
    };
    match message {
        Message::Insert { new, .. } => Some(format!("+ {}", row(*new))),
        Message::Update { old, new, .. } => {
            Some(format!("{} -> {}", old.as_ref().map_or_else(|| "same key".to_owned(), was), row(*new)))
        }
        Message::Delete { old, .. } => Some(format!("- {}", was(old))),
        Message::Begin(_)
        | Message::Commit(_)
        | Message::Origin { .. }
        | Message::Relation(_)
        | Message::Type { .. }
        | Message::Truncate { .. }
        | Message::Message { .. } => None,
    }
}

#[test]
fn what_postgresql_sent_is_read_whole_and_written_back_byte_for_byte() {
    for (at, bytes) in [captured(TEXT), captured(BINARY)].concat().iter().enumerate() {
        let message = Message::decode(bytes).unwrap();
        assert_eq!(&encoded(&message), bytes, "message {at}");
        for cut in 0..bytes.len() {
            assert!(Message::decode(&bytes[..cut]).is_err(), "message {at} cut after {cut} bytes");
        }
        assert!(Message::decode(&[&bytes[..], &[0]].concat()).is_err(), "message {at} and a byte more");
    }
}

#[test]
fn the_rows_that_postgresql_sent_are_what_the_script_wrote() {
    let messages = captured(TEXT);
    let changes: Vec<_> = messages.iter().filter_map(|bytes| rows(&Message::decode(bytes).unwrap())).collect();
    #[rustfmt::skip]
    assert_eq!(changes, [
        r#"+ "1" "ä" 3000 bytes "größe""#,
        r#"+ "2" null null "sad""#,
        r#"same key -> "1" "w" unchanged "größe""#,
        r#"key "1" null null null -> "3" "w" unchanged "größe""#,
        r#"- key "2" null null null"#,
        r#"+ "1.50" "tab\there""#,
        r#"+ "NaN" """#,
        r#"full "1.50" "tab\there" -> "2.00" "tab\there""#,
        r#"- full "NaN" """#,
        r#"+ "1" "2""#,
        r#"key "1" null -> "5" "2""#,
        r#"+ "7" null"#,
    ]);
    let binary = captured(BINARY);
    let first = binary.iter().find_map(|bytes| rows(&Message::decode(bytes).unwrap())).unwrap();
    assert!(first.starts_with("+ 00000001 c3a4 7878"), "integers in four bytes, text as it is");
}

#[test]
fn relations_types_and_marks_are_as_the_script_made_them() {
    let messages = captured(TEXT);
    let decoded: Vec<_> = messages.iter().map(|bytes| Message::decode(bytes).unwrap()).collect();
    let relations: Vec<_> =
        decoded.iter().filter_map(|m| if let Message::Relation(r) = m { Some(r) } else { None }).collect();
    let (plain, whole, keyed) = (relations[0], relations[1], relations[2]);
    assert_eq!((&*plain.namespace, &*plain.name, plain.identity), ("public", "plain", ReplicaIdentity::Default));
    assert_eq!((whole.identity, keyed.identity), (ReplicaIdentity::Full, ReplicaIdentity::Index));
    let names: Vec<_> = whole.columns.iter().map(|column| &*column.name).collect();
    assert_eq!(names, ["a", "b c"], "neither the dropped column nor the generated one");
    assert_eq!(plain.columns.iter().map(|column| column.in_key).collect::<Vec<_>>(), [true, false, false, false]);
    assert_eq!(plain.columns[1].typmod, 14, "varchar(10) and four bytes of header");
    assert_eq!(decoded[1], Message::Type { oid: plain.columns[3].type_oid, namespace: "public", name: "mood" });
    assert!(plain.same_shape(relations[3]) && !plain.same_shape(keyed));
    assert!(plain.type_oids().contains(&plain.columns[3].type_oid));
    let mark = decoded.iter().find(|message| matches!(message, Message::Message { transactional: true, .. }));
    let Some(Message::Message { prefix, content, .. }) = mark else { panic!("the script's mark is missing") };
    assert_eq!((*prefix, content.0), (&b"holdfast"[..], &b"in\0side"[..]));
    let truncate = decoded.iter().find(|message| matches!(message, Message::Truncate { .. }));
    let Some(Message::Truncate { relids, cascade: true, restart_identity: true }) = truncate else { panic!() };
    assert_eq!(relids.iter().collect::<Vec<_>>(), [plain.relid, keyed.relid]);
}

#[test]
fn a_commit_ends_the_transaction_that_its_begin_announced() {
    let (mut open, mut commits) = (None, 0);
    for bytes in captured(TEXT) {
        match peek(&bytes).unwrap() {
            Peek::Begin(begin) => open = Some(begin),
            Peek::Commit(commit) => {
                let begin: Begin = open.take().unwrap();
                assert_eq!((begin.final_lsn, begin.commit_time), (commit.commit_lsn, commit.commit_time));
                assert!(commit.end_lsn > commit.commit_lsn);
                commits += 1;
            }
            Peek::Message { transactional, .. } => assert_eq!(transactional, open.is_some()),
            Peek::Origin | Peek::Relation { .. } | Peek::Type { .. } | Peek::Change { .. } | Peek::Truncate { .. } => {
                assert!(open.is_some());
            }
        }
    }
    assert_eq!(commits, 3);
}

/// Whether a glance and a full reading tell the same.
fn agrees(peek: Peek, message: &Message) -> bool {
    match (peek, message) {
        (Peek::Begin(a), Message::Begin(b)) => a == *b,
        (Peek::Commit(a), Message::Commit(b)) => a == *b,
        (Peek::Origin, Message::Origin { .. }) => true,
        (Peek::Relation { relid }, Message::Relation(relation)) => relid == relation.relid,
        (Peek::Type { oid: a }, Message::Type { oid: b, .. })
        | (Peek::Change { op: Op::Insert, relid: a }, Message::Insert { relid: b, .. })
        | (Peek::Change { op: Op::Update, relid: a }, Message::Update { relid: b, .. })
        | (Peek::Change { op: Op::Delete, relid: a }, Message::Delete { relid: b, .. }) => a == *b,
        (Peek::Truncate { relids: a }, Message::Truncate { relids: b, .. }) => a == Some(*b),
        (
            Peek::Message { transactional, lsn, prefix },
            Message::Message { transactional: t, lsn: l, prefix: p, .. },
        ) => (transactional, lsn, prefix) == (*t, *l, *p),
        (_, _) => false,
    }
}

#[test]
fn a_glance_at_the_first_piece_is_enough_whatever_the_size() {
    let big = vec![b'x'; PIECE_BYTES_MAX * 2];
    let tuple = TupleBuf::new([Column::Text(&big), Column::Null]).unwrap();
    let insert = encoded(&Message::Insert { relid: 7, new: tuple.as_tuple() });
    assert_eq!(peek(&insert[..PIECE_BYTES_MAX]), Ok(Peek::Change { op: Op::Insert, relid: 7 }));

    let many: RelidsBuf = (1..40_000).collect();
    let truncate = Message::Truncate { relids: many.as_relids(), cascade: false, restart_identity: false };
    assert_eq!(peek(&encoded(&truncate)[..PIECE_BYTES_MAX]), Ok(Peek::Truncate { relids: None }), "all of them");
    assert!(peek(&encoded(&truncate)[..99]).is_err(), "this is no piece: pieces are cut at one size");

    let prefix = &big[..];
    let message = encoded(&Message::Message { transactional: false, lsn: Lsn::new(5), prefix, content: Content(b"") });
    let Ok(Peek::Message { prefix, .. }) = peek(&message[..PIECE_BYTES_MAX]) else { panic!("a long name is no error") };
    assert!(big.starts_with(prefix) && prefix.len() < big.len());
}

#[test]
fn what_protocol_1_does_not_have_is_foreign() {
    #[rustfmt::skip]
    let cases: [(&[u8], &str); 7] = [
        // bytes                             why
        (b"S\0\0\0\x01\x01",                 "a stream block begins in protocol 2"),
        (b"C\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "no flags are defined for a commit"),
        (b"D\0\0\0\x01N\0\0",                "a deleted row has no new version"),
        (b"I\0\0\0\x01K\0\0",                "an inserted row has no key"),
        (b"I\0\0\0\x01N\0\x01x",             "no such kind of value"),
        (b"I\0\0\0\x01N\0\x01t\xff\xff\xff\xff", "a negative length"),
        (b"T\0\0\0\0\x04",                   "a flag that truncate does not have"),
    ];
    for (bytes, why) in cases {
        assert!(matches!(Message::decode(bytes), Err(WireError::Foreign { .. })), "{why}");
    }
}

#[test]
fn a_part_of_a_message_is_owned_without_a_copy() {
    let bytes = Bytes::from(captured(TEXT).swap_remove(3));
    let Ok(Message::Insert { new, .. }) = Message::decode(&bytes) else { panic!("the fourth message is an insert") };
    let Some(Column::Text(value)) = new.columns().nth(2) else { panic!("its third value is a text") };
    assert_eq!(bytes.slice_ref(value).as_ptr(), value.as_ptr());
}

#[test]
fn neither_rows_nor_values_are_printed() {
    let tuple = TupleBuf::new([Column::Text(b"secret"), Column::Binary(b"secret")]).unwrap();
    let message = Message::Insert { relid: 1, new: tuple.as_tuple() };
    let columns: Vec<_> = tuple.as_tuple().columns().collect();
    let said = Message::Message { transactional: true, lsn: Lsn::ZERO, prefix: b"outbox", content: Content(b"secret") };
    for text in [format!("{message:?}"), format!("{said:?}"), format!("{tuple:?}"), format!("{columns:?}")] {
        assert!(!text.contains("secret") && !text.contains("115, 101"), "{text}");
    }
}

fn column() -> impl Strategy<Value = (u8, Vec<u8>)> {
    (0..4_u8, prop::collection::vec(any::<u8>(), 0..40))
}

fn tuple(columns: &[(u8, Vec<u8>)]) -> TupleBuf {
    let column = |(kind, value): &'_ (u8, Vec<u8>)| match kind {
        0 => None,
        1 => Some((false, value.clone())),
        _ => Some((true, value.clone())),
    };
    let columns: Vec<_> = columns.iter().map(column).collect();
    TupleBuf::new(columns.iter().map(|column| match column {
        None => Column::Null,
        Some((_, value)) if value.is_empty() => Column::Unchanged,
        Some((true, value)) => Column::Text(value),
        Some((false, value)) => Column::Binary(value),
    }))
    .unwrap()
}

fn check(message: &Message, cut: prop::sample::Index) -> Result<(), TestCaseError> {
    let bytes = encoded(message);
    let decoded = Message::decode(&bytes);
    prop_assert_eq!(decoded.as_ref(), Ok(message));
    prop_assert!(agrees(peek(&bytes).unwrap(), message));
    prop_assert!(Message::decode(&bytes[..cut.index(bytes.len())]).is_err());
    Ok(())
}

proptest! {
    #[test]
    fn a_change_comes_back_as_it_was_written_and_any_cut_is_seen(
        relid: u32, which in 0..5, old in prop::collection::vec(column(), 0..9),
        new in prop::collection::vec(column(), 0..9), cut: prop::sample::Index,
    ) {
        let (old, new) = (tuple(&old), tuple(&new));
        let (old, new) = (old.as_tuple(), new.as_tuple());
        check(&match which {
            0 => Message::Insert { relid, new },
            1 => Message::Update { relid, old: None, new },
            2 => Message::Update { relid, old: Some(OldRow::Key(old)), new },
            3 => Message::Update { relid, old: Some(OldRow::Full(old)), new },
            _ => Message::Delete { relid, old: OldRow::Key(old) },
        }, cut)?;
    }

    #[test]
    fn the_other_messages_come_back_as_they_were_written_and_any_cut_is_seen(
        which in 0..7, a: u64, b: u64, time in -1_000_000_000_000_000_i64..1 << 60, n: u32, flag: bool,
        texts in ("[^\0]{0,70}", "[^\0]{0,70}"), content in prop::collection::vec(any::<u8>(), 0..99),
        relids in prop::collection::vec(any::<u32>(), 0..9), cut: prop::sample::Index,
    ) {
        let (namespace, name) = (&*texts.0, &*texts.1);
        let (a, b, commit_time) = (Lsn::new(a), Lsn::new(b), Timestamp::from_micros(time));
        let relids = RelidsBuf::from_iter(relids);
        let column = RelationColumn { in_key: flag, name: name.to_owned(), type_oid: n, typmod: -1 };
        check(&match which {
            0 => Message::Begin(Begin { final_lsn: a, commit_time, xid: n }),
            1 => Message::Commit(Commit { commit_lsn: a, end_lsn: b, commit_time }),
            2 => Message::Origin { commit_lsn: a, name },
            3 => Message::Type { oid: n, namespace, name },
            4 => Message::Truncate { relids: relids.as_relids(), cascade: flag, restart_identity: !flag },
            5 => Message::Message { transactional: flag, lsn: a, prefix: name.as_bytes(), content: Content(&content) },
            _ => Message::Relation(Relation {
                relid: n,
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                identity: ReplicaIdentity::Nothing,
                columns: vec![column; content.len()],
            }),
        }, cut)?;
    }

    #[test]
    fn any_bytes_at_all_are_a_message_or_an_error(tag in "[BCORYIUDTM]", rest: Vec<u8>) {
        let bytes = [tag.as_bytes(), &rest].concat();
        if let Ok(message) = Message::decode(&bytes) {
            prop_assert!(agrees(peek(&bytes).unwrap(), &message));
        }
        let _ = peek(&rest);
    }
}
