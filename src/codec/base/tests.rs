//! A manifest as version 1 writes it, and every way in which one can contradict itself.

use proptest::prelude::*;

use super::*;

fn orders() -> Table {
    let mut sum = RowSum::default();
    sum.add_row(b"1\ta");
    let column = |attnum, name: &str, in_key| TableColumn {
        attnum,
        name: name.to_owned(),
        type_oid: 23,
        typmod: -1,
        generated: false,
        in_key,
    };
    Table {
        relid: 16_384,
        schema: "public".to_owned(),
        name: "ord\"er;s".to_owned(),
        kind: TableKind::Leaf,
        columns: vec![column(1, "id", true), column(3, "größe", false)],
        identity: Identity::Key {
            index_schema: "public".to_owned(),
            index_name: "orders_pkey".to_owned(),
            constraint: Some("orders_pkey".to_owned()),
            columns: vec!["id".to_owned()],
        },
        identity_before: Some('d'),
        sum,
        bytes: 4,
        read_at: None,
    }
}

fn manifest() -> Manifest {
    let part = |number, content| Part { number, bytes: 99, plain_bytes: 300, sha256: "0f".repeat(32), content };
    Manifest {
        format: FORMAT,
        base: BaseId::from_bytes([7; 16]),
        log: Some(LogId::from_bytes([8; 16])),
        source: "main".parse().unwrap(),
        point: Lsn::new(0x16_B374_D848),
        begins: None,
        taken_at: Timestamp::from_micros(1_700_000_000_000_000),
        finished_at: Timestamp::from_micros(1_700_000_001_000_000),
        server: Server { version: 150_020, system_id: u64::MAX, timeline: 1, pg_dump: "pg_dump 15.20".to_owned() },
        database: Database {
            name: "shop".to_owned(),
            encoding: "UTF8".to_owned(),
            collate: "C.UTF-8".to_owned(),
            ctype: "C.UTF-8".to_owned(),
        },
        parts: vec![
            part(1, Content::Globals),
            part(2, Content::PreData),
            part(3, Content::Rows { table: 0, piece: 1 }),
            part(4, Content::Rows { table: 0, piece: 2 }),
            part(5, Content::PostData),
        ],
        tables: vec![orders()],
        sequences: vec![Sequence {
            schema: "public".to_owned(),
            name: "orders_id_seq".to_owned(),
            last_value: i64::MIN,
            is_called: true,
        }],
        extensions: vec![Extension {
            name: "hstore".to_owned(),
            schema: "public".to_owned(),
            version: "1.8".to_owned(),
        }],
        passed_over: Vec::new(),
        warnings: vec!["3 large objects are as of the base".to_owned()],
    }
}

fn table(manifest: &mut Manifest) -> &mut Table {
    manifest.tables.first_mut().unwrap()
}

#[test]
fn the_format_is_what_version_1_wrote() {
    let golden = include_bytes!("../../../tests/golden/base/manifest-1.json");
    assert_eq!(Manifest::decode(golden).unwrap(), manifest(), "a manifest of years ago is read");
    assert_eq!(String::from_utf8(manifest().encode().unwrap()).unwrap(), String::from_utf8_lossy(golden).trim_end());
}

#[test]
fn a_manifest_that_is_not_whole_is_told_what_it_lacks() {
    type Break = fn(&mut Manifest);
    #[rustfmt::skip]
    let cases: [(Break, &str); 14] = [
        // what is done to a whole one                                             what is said
        (|m| { m.parts.remove(0); },                                               "part 2 stands where part 1 belongs"),
        (|m| m.parts.swap(0, 1),                                                   "part 2 stands where part 1 belongs"),
        (|m| { m.parts.pop(); },                                                   "no part holds the schema's post-data"),
        (|m| m.parts[1].content = Content::Globals,                                "no part holds the schema's pre-data"),
        (|m| m.parts[2].content = Content::Rows { table: 1, piece: 1 },            "which it does not list"),
        (|m| m.parts[2].content = Content::Rows { table: 0, piece: 2 },            "piece 2 of its table's rows, after piece 0"),
        (|m| m.parts[3].content = Content::Rows { table: 0, piece: 1 },            "piece 1 of its table's rows, after piece 1"),
        (|m| m.parts[0].sha256 = "0F".repeat(32),                                  "part 1 has no SHA-256"),
        (|m| m.tables.push(m.tables[0].clone()),                                   "rows and no part that holds them"),
        (|m| { let t = table(m); t.columns.swap(0, 1); },                          "whose numbers do not rise"),
        (|m| table(m).columns[0].name = "di".to_owned(),                           "has no column \"id\""),
        (|m| { let mut two = m.tables[0].clone(); two.sum = RowSum::default(); m.tables.push(two); },
                                                                                   "two tables have the OID 16384"),
        (|m| m.begins = Some(Lsn::new(u64::MAX)),                                  "begins at FFFFFFFF/FFFFFFFF, behind its point"),
        (|m| table(m).read_at = Some(Lsn::new(1)),                                 "are of another time"),
    ];
    for (damage, said) in cases {
        let mut broken = manifest();
        damage(&mut broken);
        let json = serde_json::to_vec(&broken).unwrap();
        for error in [broken.encode().map(drop), Manifest::decode(&json).map(drop)] {
            let text = error.unwrap_err().to_string();
            assert!(text.contains(said) && text.contains(&broken.base.to_string()), "{said}: {text}");
        }
    }
}

#[test]
fn a_newer_format_is_named_and_an_unknown_name_is_refused() {
    let json = String::from_utf8(manifest().encode().unwrap()).unwrap();
    let newer = json.replacen("\"format\":1", "\"format\":2,\"novelty\":true", 1);
    assert!(matches!(Manifest::decode(newer.as_bytes()), Err(BaseError::Format { found: 2 })));
    for place in ["\"timeline\":1", "\"attnum\":1", "\"format\":1", "\"piece\":1", "\"index_schema\":\"public\""] {
        let unknown = json.replacen(place, &format!("{place},\"novelty\":true"), 1);
        assert_ne!(unknown, json, "{place}");
        assert!(matches!(Manifest::decode(unknown.as_bytes()), Err(BaseError::Shape(_))), "{place}");
    }
}

#[test]
fn an_empty_table_needs_no_part() {
    let mut empty = manifest();
    let mut none = empty.tables[0].clone();
    (none.relid, none.sum, none.identity) = (5, RowSum::default(), Identity::Nothing);
    empty.tables.push(none);
    empty.log = None;
    let json = empty.encode().unwrap();
    assert_eq!(Manifest::decode(&json).unwrap(), empty);
}

#[test]
fn a_base_whose_tables_were_read_again_says_what_is_of_which_place() {
    let mut again = manifest();
    again.begins = Some(Lsn::new(0x16_B374_0000));
    again.parts[3].content = Content::Stale;
    table(&mut again).read_at = Some(again.point);
    let json = String::from_utf8(again.encode().unwrap()).unwrap();
    for said in [r#""begins":"16/B3740000""#, r#""content":"stale""#, r#""read_at":"16/B374D848""#] {
        assert!(json.contains(said), "{said}: {json}");
    }
    assert_eq!(Manifest::decode(json.as_bytes()).unwrap(), again);
}

proptest! {
    #[test]
    fn a_cut_manifest_is_an_error_and_a_changed_byte_never_panics(at: prop::sample::Index, byte: u8) {
        let mut json = manifest().encode().unwrap();
        let at = at.index(json.len());
        prop_assert!(Manifest::decode(&json[..at]).is_err());
        json[at] = byte;
        let _ = Manifest::decode(&json);
    }
}
