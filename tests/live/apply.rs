//! What the applier does with changes that do not fit, and with transactions that never happened.

use std::collections::BTreeSet;

use bytes::Bytes;
use holdfast::apply::postgres::{Applier, ApplyError, RowIdentity, ShapeColumn, TableShape, Transaction, WindowRule};
use holdfast::codec::pgoutput::{Column, Message, OldRow, Relation, RelationColumn, ReplicaIdentity, TupleBuf};
use holdfast::connect::Mode;
use holdfast::model::{Lsn, Position, Timestamp, Xid};

use crate::servers::Postgres;

const PREPARED: &str = "create schema holdfast_restore; create table holdfast_restore.progress (applied_to text, \
    transactions bigint); insert into holdfast_restore.progress values (null, 0); \
    create table public.keyed (id int primary key, v text); create table public.bag (id int, v text); \
    insert into public.keyed values (1, 'one'), (2, 'two'); insert into public.bag values (1, 'x'), (1, 'x'), (2, null)";

fn shape(relid: u32, name: &str, identity: RowIdentity) -> TableShape {
    let column = |name: &str, type_oid| ShapeColumn { name: name.to_owned(), type_oid, typmod: -1 };
    let columns = vec![column("id", 23), column("v", 25)];
    TableShape { relid, schema: "public".to_owned(), name: name.to_owned(), columns, identity }
}

async fn applier(server: &Postgres, window_bytes: usize) -> Applier {
    let shapes = vec![shape(1, "keyed", RowIdentity::Key(vec![0])), shape(2, "bag", RowIdentity::Full)];
    let session = server.session(Mode::Sql).await;
    Applier::new(session, shapes, BTreeSet::new(), WindowRule { window_bytes }).await.unwrap()
}

fn wire(message: &Message<'_>) -> Bytes {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    bytes.into()
}

fn row(id: &str, v: &str) -> TupleBuf {
    TupleBuf::new([Column::Text(id.as_bytes()), Column::Text(v.as_bytes())]).unwrap()
}

fn insert(relid: u32, id: &str, v: &str) -> Bytes {
    wire(&Message::Insert { relid, new: row(id, v).as_tuple() })
}

fn update(relid: u32, id: &str, v: &str) -> Bytes {
    wire(&Message::Update { relid, old: None, new: row(id, v).as_tuple() })
}

fn delete(relid: u32, id: &str, v: &str) -> Bytes {
    let old = row(id, v);
    wire(&Message::Delete { relid, old: OldRow::Full(old.as_tuple()) })
}

fn transaction(number: u64) -> Transaction {
    Transaction {
        xid: Xid::new(number),
        commit_lsn: Lsn::new(number),
        position: Position::new(number + 1),
        time: Timestamp::from_micros(0),
    }
}

async fn apply(applier: &mut Applier, number: u64, changes: Vec<Bytes>) -> Result<(), ApplyError> {
    applier.begin(Lsn::new(number));
    for change in changes {
        applier.message(change).await?;
    }
    applier.commit(transaction(number)).await
}

#[tokio::test]
async fn l4_a_change_whose_row_is_not_there_is_an_error_that_names_table_and_place() {
    let cases = [
        (vec![update(1, "7", "planted")], "public.keyed", "an update of a row that is not there"),
        (vec![delete(1, "7", "planted")], "public.keyed", "a delete of one"),
        (vec![update(1, "1", "a"), update(1, "7", "planted")], "public.keyed", "among others that are there"),
        (vec![delete(2, "7", "planted")], "public.bag", "a row told by all its values"),
        (vec![delete(2, "1", "x"), delete(2, "1", "x"), delete(2, "1", "x")], "public.bag", "one more than there are"),
        (vec![insert(1, "1", "planted")], "public.keyed", "a key that is there already"),
    ];
    for (changes, table, why) in cases {
        let server = Postgres::start();
        server.psql("postgres", PREPARED);
        let mut applier = applier(&server, 1 << 20).await;
        let ended = match apply(&mut applier, 0xAB, changes).await {
            Ok(()) => applier.finish().await.map(drop),
            failed => failed,
        };
        let text = holdfast::daemon::chain(&ended.unwrap_err());
        assert!(text.contains(table) && !text.contains("planted"), "{why}: {text}");
        assert_eq!(
            server.psql("postgres", "select count(*), max(v) from public.keyed"),
            "2|two",
            "{why}: nothing is kept"
        );
    }
}

#[tokio::test]
async fn l2_a_transaction_that_never_happened_leaves_nothing_however_large() {
    let server = Postgres::start();
    server.psql("postgres", PREPARED);
    let mut applier = applier(&server, 10_000).await;
    apply(&mut applier, 1, vec![update(1, "1", "before")]).await.unwrap();
    for rows in [3, 3000] {
        applier.begin(Lsn::new(2));
        for number in 0..rows {
            applier.message(insert(1, &format!("1{number}"), "void")).await.unwrap();
            applier.message(insert(2, "9", "void")).await.unwrap();
        }
        applier.message(delete(2, "1", "x")).await.unwrap();
        applier.void().await.unwrap();
    }
    apply(&mut applier, 3, vec![delete(2, "1", "x"), update(1, "2", "after")]).await.unwrap();
    let (_session, done) = applier.finish().await.unwrap();
    assert_eq!((done.transactions, done.counts[&1].updates, done.counts[&2].deletes), (2, 2, 1));
    let all = "select string_agg(id || v, ' ' order by id) from public.keyed";
    assert_eq!(server.psql("postgres", all), "1before 2after");
    assert_eq!(server.psql("postgres", "select count(*), count(v) from public.bag"), "2|1");
    assert_eq!(server.psql("postgres", "select applied_to, transactions from holdfast_restore.progress"), "0/4|2");
    assert_eq!(
        server.psql("postgres", "select count(*) from pg_class where relname ~ '^holdfast'"),
        "0",
        "no index stays"
    );
}

#[tokio::test]
async fn l4_a_table_that_the_log_describes_otherwise_is_refused_once_it_is_changed() {
    let server = Postgres::start();
    server.psql("postgres", PREPARED);
    let relation = |columns: &[(&str, u32)]| {
        let column = |&(name, type_oid): &(&str, u32)| RelationColumn {
            in_key: true,
            name: name.to_owned(),
            type_oid,
            typmod: -1,
        };
        wire(&Message::Relation(Relation {
            relid: 1,
            namespace: "public".to_owned(),
            name: "keyed".to_owned(),
            identity: ReplicaIdentity::Default,
            columns: columns.iter().map(column).collect(),
        }))
    };
    let same = relation(&[("id", 23), ("v", 25)]);
    for other in
        [&[("id", 23)][..], &[("id", 23), ("w", 25)], &[("id", 20), ("v", 25)], &[("id", 23), ("v", 25), ("w", 25)]]
    {
        let mut applier = applier(&server, 1 << 20).await;
        applier.context(&relation(other)).unwrap();
        apply(&mut applier, 1, vec![delete(2, "5", "x")]).await.unwrap();
        let refused = apply(&mut applier, 2, vec![update(1, "1", "x")]).await.unwrap_err();
        assert!(matches!(&refused, ApplyError::Disagrees { table, .. } if table == "public.keyed"), "{refused}");
        applier.context(&same).unwrap();
        apply(&mut applier, 3, vec![update(1, "1", "x")]).await.unwrap();
    }
}
