//! For tests: transactions as a server tells them, and a small base, sealed as whoever takes one seals it.

use std::ops::Range;

use crate::codec::base::{Content, Database, FORMAT, Manifest, Part, Server};
use crate::codec::frame::pack;
use crate::codec::pgoutput::{Begin, Message};
use crate::codec::segment::{Header, ObjectKind};
use crate::crypto::stream::sha256;
use crate::log::fixture::{Fixture, main_source, transaction, write_segment};
use crate::log::object::{Seal, draft};
use crate::model::{BaseId, Epoch, LogId, Lsn, Slot, Timestamp};
use crate::store::layout;

/// Transactions that can be read, each in a segment of its own behind a fence; they commit at ten times their number.
pub(crate) async fn write_commits(fixture: &Fixture, numbers: Range<u64>) {
    let mut writer = fixture.writer().await;
    for number in numbers {
        let mut begin = Vec::new();
        let (final_lsn, commit_time) = (Lsn::new(number * 10 - 5), Timestamp::from_micros(0));
        Message::Begin(Begin { final_lsn, commit_time, xid: 1 }).encode(&mut begin);
        let mut records = transaction(number);
        records[0].wire = begin.into();
        write_segment(&mut writer, &records).await;
    }
}

/// A base of an empty database that stands behind transaction `number`, taken right after it.
pub(crate) async fn put_base(fixture: &Fixture, log: LogId, number: u64) -> Manifest {
    let (env, source, base) = (&fixture.env, main_source(), BaseId::from_bytes([number as u8; 16]));
    let mut seal = Seal::begin(env, *base.as_bytes(), Epoch::new(0)).await.unwrap();
    let mut parts = Vec::new();
    for (number, content) in (1..).zip([Content::Globals, Content::PreData, Content::PostData]) {
        let header = Header { slot: Slot::new(u64::from(number)), ..draft(ObjectKind::BasePart) };
        let plain = b"-- nothing";
        let sealed = seal.seal(&header, &[pack(plain)], |_| Vec::new()).unwrap();
        let (bytes, sha256) = (sealed.len() as u64, hex::encode(sha256(sealed.as_bytes())));
        parts.push(Part { number, bytes, plain_bytes: plain.len() as u64, sha256, content });
        env.store.put_new(&layout::base_part(&source, base, number), sealed).await.unwrap();
    }
    let text = |text: &str| text.to_owned();
    let taken_at = Timestamp::from_micros(number as i64 * 10_000 + 1);
    let manifest = Manifest {
        format: FORMAT,
        base,
        log: Some(log),
        source: source.clone(),
        point: Lsn::new(number * 10),
        begins: None,
        taken_at,
        finished_at: taken_at,
        server: Server { version: 150_020, system_id: 9, timeline: 1, pg_dump: text("pg_dump 15.20") },
        database: Database { name: text("shop"), encoding: text("UTF8"), collate: text("C"), ctype: text("C") },
        parts,
        tables: Vec::new(),
        sequences: Vec::new(),
        extensions: Vec::new(),
        passed_over: Vec::new(),
        warnings: Vec::new(),
    };
    let header = Header { to: manifest.point.position(), to_time: taken_at, ..draft(ObjectKind::Manifest) };
    let sealed = seal.seal(&header, &[pack(&manifest.encode().unwrap())], |_| Vec::new()).unwrap();
    env.store.put_new(&layout::manifest(&source, base), sealed).await.unwrap();
    manifest
}
