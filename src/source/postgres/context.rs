//! What a segment of a PostgreSQL log repeats so that it can be read alone: the open Begin, and the Relation and Type
//! messages of the tables that it touches.
//!
//! The server describes a table once per session; here the descriptions are kept and written again into each segment,
//! just before the first change that needs them.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use bytes::Bytes;

use crate::codec::footer::{Counts, Subject};
use crate::codec::pgoutput::{Message, Op, Peek, peek};
use crate::codec::segment::Flags;
use crate::log::Context;
use crate::model::{Kind, Piece, Record, Role};
use crate::source::postgres::names;

/// A table as the server described it last.
#[derive(Debug)]
struct Described {
    message: Bytes,
    name: String,
    types: Vec<u32>,
}

/// Follows the records of one session.
#[derive(Debug, Default)]
pub struct PostgresContext {
    open: Option<Record>,
    relations: BTreeMap<u32, Described>,
    types: BTreeMap<u32, Bytes>,
    at_start: bool,
    relations_here: BTreeSet<u32>,
    types_here: BTreeSet<u32>,
    counts: BTreeMap<u32, Counts>,
    flags: Flags,
}

impl PostgresContext {
    fn describe(&mut self, relid: u32, repeat: &mut Vec<Record>) {
        if !self.relations_here.insert(relid) {
            return;
        }
        let Some(described) = self.relations.get(&relid) else { return };
        for oid in &described.types {
            if let Some(message) = self.types.get(oid)
                && self.types_here.insert(*oid)
            {
                repeat.push(context(Role::Inside, message.clone()));
            }
        }
        repeat.push(context(Role::Inside, described.message.clone()));
    }

    fn count(&mut self, relid: u32) -> &mut Counts {
        self.counts.entry(relid).or_default()
    }

    /// Remembers what the stream describes; it stands in this segment by itself.
    fn learn(&mut self, wire: &Bytes) {
        match Message::decode(wire) {
            Ok(Message::Relation(relation)) => {
                let name = format!("{}.{}", relation.namespace, relation.name);
                let types = relation.type_oids().into_iter().collect();
                self.relations.insert(relation.relid, Described { message: wire.clone(), name, types });
                self.relations_here.insert(relation.relid);
            }
            Ok(Message::Type { oid, .. }) => {
                self.types.insert(oid, wire.clone());
                self.types_here.insert(oid);
            }
            // Only descriptions are learnt; one that cannot be read is found by every reader of the segment.
            Ok(_) | Err(_) => {}
        }
    }
}

const fn context(role: Role, wire: Bytes) -> Record {
    Record { kind: Kind::Context, role, piece: Piece::Whole, wire }
}

impl Context for PostgresContext {
    fn begin(&mut self) {
        self.at_start = true;
        self.relations_here.clear();
        self.types_here.clear();
    }

    fn before(&mut self, record: &Record, repeat: &mut Vec<Record>) {
        if std::mem::take(&mut self.at_start)
            && let Some(open) = &self.open
            && record.kind != Kind::Session
        {
            repeat.push(context(open.role, open.wire.clone()));
        }
        match (record.kind, record.role) {
            (Kind::Wire, Role::Opens(_)) => self.open = Some(record.clone()),
            (Kind::Wire, Role::Commits(_)) | (Kind::Session, _) => self.open = None,
            (Kind::Wire | Kind::Context | Kind::Gap | Kind::Heartbeat, _) => {}
        }
        let begins = matches!(record.piece, Piece::Whole | Piece::First);
        if record.kind != Kind::Wire || !begins {
            return;
        }
        match peek(&record.wire) {
            Ok(Peek::Relation { .. } | Peek::Type { .. }) => self.learn(&record.wire),
            Ok(Peek::Change { op, relid }) => {
                self.describe(relid, repeat);
                let counts = self.count(relid);
                match op {
                    Op::Insert => counts.inserts += 1,
                    Op::Update => counts.updates += 1,
                    Op::Delete => counts.deletes += 1,
                }
            }
            Ok(Peek::Truncate { relids: Some(relids) }) => {
                for relid in relids.iter() {
                    self.describe(relid, repeat);
                    self.count(relid).truncates += 1;
                }
            }
            Ok(Peek::Truncate { relids: None }) => {
                for relid in self.relations.keys().copied().collect::<Vec<_>>() {
                    self.describe(relid, repeat);
                }
            }
            Ok(Peek::Message { prefix, .. }) if prefix == names::MARK.as_bytes() => {
                self.flags = self.flags.with(Flags::HOLDS_MARK);
            }
            // What cannot be read is kept as it is: the reader names it, the write side loses nothing.
            Ok(Peek::Begin(_) | Peek::Commit(_) | Peek::Origin | Peek::Message { .. }) | Err(_) => {}
        }
    }

    fn end(&mut self) -> (Vec<Subject>, Flags) {
        let name = |relid: &u32| self.relations.get(relid).map(|described| described.name.clone()).unwrap_or_default();
        let subject = |(id, counts)| Subject { name: name(&id), id, counts };
        let subjects = std::mem::take(&mut self.counts).into_iter().map(subject).collect();
        (subjects, std::mem::take(&mut self.flags))
    }
}
