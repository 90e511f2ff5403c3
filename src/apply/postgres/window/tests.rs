//! What a window makes of messages, and which messages it refuses.

use super::*;
use crate::apply::postgres::shape::{ShapeColumn, TableShape, TargetColumn};
use crate::codec::pgoutput::{Column, RelidsBuf, TupleBuf};

fn table(relid: u32, identity: RowIdentity) -> (u32, Table) {
    let column = |name: &str| ShapeColumn { name: name.to_owned(), type_oid: 25, typmod: -1 };
    let target = |name: &str| TargetColumn {
        name: name.to_owned(),
        sql_type: "text".to_owned(),
        equals: "=".to_owned(),
        always: None,
    };
    let shape = TableShape {
        relid,
        schema: "public".to_owned(),
        name: format!("t{relid}"),
        columns: vec![column("id"), column("v")],
        identity,
    };
    (relid, Table { shape, columns: vec![target("id"), target("v")], one_by_one: false })
}

fn tables() -> Tables {
    let known = [table(1, RowIdentity::Key(vec![0])), table(2, RowIdentity::Full)].into_iter().collect();
    let names = [(7, "public.late".to_owned())].into_iter().collect();
    Tables { known, passed: [9].into_iter().collect(), names, ..Tables::default() }
}

fn wire(message: &Message<'_>) -> Bytes {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    bytes.into()
}

fn row(values: &[&str]) -> TupleBuf {
    TupleBuf::new(values.iter().map(|value| Column::Text(value.as_bytes()))).unwrap()
}

fn insert(relid: u32, values: &[&str]) -> Bytes {
    wire(&Message::Insert { relid, new: row(values).as_tuple() })
}

#[test]
fn a_truncate_makes_what_came_before_it_moot() {
    let (tables, mut window) = (tables(), Window::default());
    for wire in [
        insert(1, &["a", "b"]),
        insert(2, &["a", "b"]),
        wire(&Message::Truncate {
            relids: [1, 9].into_iter().collect::<RelidsBuf>().as_relids(),
            cascade: false,
            restart_identity: false,
        }),
        insert(1, &["a", "c"]),
    ] {
        window.add(&tables, &wire, Lsn::new(5)).unwrap();
    }
    assert!(matches!(window.tables[&1].as_slice(), [Stage::Truncate, Stage::Net(_)]), "emptied, then one row");
    assert!(matches!(window.tables[&2].as_slice(), [Stage::Net(_)]), "the other table keeps its row");
    assert_eq!((window.counts[&1].inserts, window.counts[&1].truncates), (2, 1));
}

#[test]
fn a_key_that_moves_without_its_large_value_is_a_stage_of_its_own() {
    let (tables, mut window) = (tables(), Window::default());
    let new = TupleBuf::new([Column::Text(b"b"), Column::Unchanged]).unwrap();
    let old = TupleBuf::new([Column::Text(b"a"), Column::Null]).unwrap();
    let moved = Message::Update { relid: 1, old: Some(OldRow::Key(old.as_tuple())), new: new.as_tuple() };
    window.add(&tables, &wire(&moved), Lsn::new(5)).unwrap();
    window.add(&tables, &insert(1, &["a", "x"]), Lsn::new(6)).unwrap();
    assert!(matches!(window.tables[&1].as_slice(), [Stage::Net(_), Stage::Move { .. }, Stage::Net(_)]));
}

#[test]
fn what_the_base_does_not_know_is_refused_by_name() {
    let error = |relid, wire: &Bytes| {
        let error = Window::default().add(&tables(), wire, Lsn::new(0x1_0000_0005)).unwrap_err();
        (relid, error.to_string())
    };
    let (_, text) = error(7, &insert(7, &["secret", "b"]));
    assert!(text.contains("public.late") && text.contains("1/5") && !text.contains("secret"), "{text}");
    let (_, text) = error(8, &insert(8, &["secret", "b"]));
    assert!(text.contains("OID 8"), "{text}");
    let (_, text) = error(1, &insert(1, &["secret"]));
    assert!(text.contains("public.t1") && !text.contains("secret"), "{text}");
    assert!(Window::default().add(&tables(), &insert(9, &["x"]), Lsn::ZERO).is_ok(), "our own rows are passed over");
}

#[test]
fn a_row_of_a_table_without_a_key_is_told_by_all_its_values() {
    let old = row(&["a", "b"]);
    let delete = |old| wire(&Message::Delete { relid: 2, old });
    let mut window = Window::default();
    window.add(&tables(), &delete(OldRow::Full(old.as_tuple())), Lsn::new(1)).unwrap();
    let refused = window.add(&tables(), &delete(OldRow::Key(old.as_tuple())), Lsn::new(1)).unwrap_err();
    assert!(refused.to_string().contains("was not FULL"), "{refused}");
}
