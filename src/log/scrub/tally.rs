//! Derives from a segment's records what its header and footer say of them. Pure, and apart from what wrote them.
//!
//! The tables that a segment touches and whether it holds a mark are its source's knowledge and stay unproved here.

use crate::codec::footer::{Footer, FrameEntry};
use crate::codec::gap::Gap;
use crate::codec::segment::{Flags, Header, ObjectKind};
use crate::model::{Commit, Kind, Piece, Record, Role, Slot, Xid};

/// What a segment hands on to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Carry {
    open: Option<Open>,
    joining: bool,
}

/// A transaction under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Open {
    /// Unknown if it began before the verification did.
    xid: Option<Xid>,
    began: Slot,
}

impl Carry {
    /// Where nothing is known of what came before: what the header itself says.
    pub(crate) fn believed(header: &Header) -> (Self, Trust) {
        let open = header.flags.has(Flags::STARTS_INSIDE);
        let open = open.then_some(Open { xid: None, began: header.needs_from });
        (Self { open, joining: false }, Trust::Unknown)
    }
}

/// Whether what came before a segment was proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// It was: pieces must continue.
    Proved,
    /// It was not: a piece may continue what we have not seen.
    Unknown,
}

/// What the records of one segment come to.
#[derive(Debug)]
pub(crate) struct Tally {
    slot: Slot,
    carry: Carry,
    trust: Trust,
    needs_from: Slot,
    ends: Commit,
    derived: Footer,
    xids_known: bool,
    only_heartbeats: bool,
}

type Wrong = &'static str;

impl Tally {
    /// Begins a segment.
    pub(crate) fn new(header: &Header, carry: Carry, trust: Trust) -> Self {
        Self {
            slot: header.slot,
            carry,
            trust,
            needs_from: carry.open.map_or(header.slot, |open| open.began),
            ends: Commit { position: header.from, time: header.from_time },
            derived: Footer::default(),
            xids_known: true,
            only_heartbeats: true,
        }
    }

    /// Takes the next frame: its place and its records.
    pub(crate) fn frame(&mut self, place: FrameEntry, records: &[Record]) -> Result<(), Wrong> {
        let before = self.derived.transactions;
        for record in records {
            self.record(record)?;
        }
        let transactions = u32::try_from(self.derived.transactions - before).unwrap_or(u32::MAX);
        let (to, to_time) = (self.ends.position, self.ends.time);
        self.derived.frames.push(FrameEntry { to, to_time, transactions, ..place });
        Ok(())
    }

    fn record(&mut self, record: &Record) -> Result<(), Wrong> {
        self.derived.records += 1;
        self.only_heartbeats &= record.kind == Kind::Heartbeat;
        self.piece(record)?;
        match (record.kind, record.role) {
            (Kind::Context, _) => {}
            (Kind::Session, _) => self.carry.open = None,
            (Kind::Gap, _) => self.derived.gaps.push(Gap::decode(&record.wire).map_err(|_| "a gap that is none")?),
            (_, Role::Opens(_)) if self.carry.open.is_some() => return Err("a transaction begins inside another"),
            (_, Role::Opens(xid)) => self.carry.open = Some(Open { xid: Some(xid), began: self.slot }),
            (_, Role::Inside | Role::Outside) => {}
            (_, Role::Commits(commit)) if commit.position <= self.ends.position => {
                return Err("a position that does not grow");
            }
            (Kind::Wire, Role::Commits(commit)) => self.complete(commit),
            (Kind::Heartbeat, Role::Commits(commit)) => self.ends.position = commit.position,
        }
        Ok(())
    }

    fn complete(&mut self, commit: Commit) {
        self.ends = Commit { position: commit.position, time: self.ends.time.max(commit.time) };
        if let Some(open) = self.carry.open.take() {
            let first = self.derived.transactions == 0;
            let xid = open.xid.unwrap_or_default();
            self.xids_known &= open.xid.is_some();
            self.derived.xid_least = if first { xid } else { self.derived.xid_least.min(xid) };
            self.derived.xid_most = self.derived.xid_most.max(xid);
        }
        self.derived.transactions += 1;
    }

    fn piece(&mut self, record: &Record) -> Result<(), Wrong> {
        let joining = &mut self.carry.joining;
        match (record.piece, *joining) {
            (Piece::Whole, false) | (Piece::Middle, true) => {}
            (Piece::Whole, true) if record.kind == Kind::Session => *joining = false,
            (Piece::Whole, true) if matches!(record.kind, Kind::Gap | Kind::Context) => {}
            (Piece::Whole | Piece::First, true) => return Err("a message inside another"),
            (Piece::First, false) => *joining = true,
            (Piece::Last, true) => *joining = false,
            (Piece::Middle, false) if self.trust == Trust::Unknown => *joining = true,
            (Piece::Last, false) if self.trust == Trust::Unknown => {}
            (Piece::Middle | Piece::Last, false) => return Err("a piece without its beginning"),
        }
        if record.kind != Kind::Context {
            self.trust = Trust::Proved;
        }
        Ok(())
    }

    /// Compares with what the segment says of itself; gives what the next one begins with.
    pub(crate) fn compare(self, header: &Header, footer: &Footer) -> Result<Carry, Wrong> {
        let Self { carry, derived, ends, .. } = self;
        let heartbeats_only = self.only_heartbeats && derived.records > 0;
        let starts_inside = self.needs_from != self.slot;
        #[rustfmt::skip]
        let claims = [
            (header.to == ends.position,                                           "the header's position is not that of its records"),
            (header.to_time == ends.time,                                          "the header's time is not that of its records"),
            (header.needs_from == self.needs_from,                                 "the header's slot to read from is not that of its records"),
            (header.flags.has(Flags::STARTS_INSIDE) == starts_inside,              "the header does not say that it starts inside a transaction, or says so wrongly"),
            (header.flags.has(Flags::ENDS_INSIDE) == carry.open.is_some(),         "the header does not say that it ends inside a transaction, or says so wrongly"),
            (header.flags.has(Flags::HOLDS_GAP) != derived.gaps.is_empty(),       "the header does not say that it holds a gap, or says so wrongly"),
            ((header.kind == ObjectKind::Heartbeat) == heartbeats_only,            "it is a heartbeat with more than heartbeats, or should be one"),
            (header.kind != ObjectKind::Fence || derived.records == 0,             "it is a fence with records"),
            (footer.frames == derived.frames,                                      "the footer's frames are not those that are there"),
            (footer.records == derived.records,                                    "the footer counts other records"),
            (footer.transactions == derived.transactions,                          "the footer counts other transactions"),
            (!self.xids_known || (footer.xid_least, footer.xid_most) == (derived.xid_least, derived.xid_most),
                                                                                   "the footer's transaction numbers are not those of its records"),
            (footer.gaps == derived.gaps,                                          "the footer's gaps are not those of its records"),
        ];
        claims.into_iter().find(|(holds, _)| !holds).map_or(Ok(carry), |(_, wrong)| Err(wrong))
    }
}
