//! Derives from a segment's records what its header and footer say of them. Pure, and apart from what wrote them.
//!
//! ```text
//!   records ─▶ Tally ─▶ Account: proved but for what was open before ─▶ join with the segment before ─▶ Carry
//! ```
//! A segment is counted without its neighbours, so that several are at once; what it says of the one before it is
//! compared when they are put in order. The tables that a segment touches and whether it holds a mark are its source's
//! knowledge and stay unproved here.

use crate::codec::footer::{Footer, FrameEntry};
use crate::codec::gap::Gap;
use crate::codec::segment::{Flags, Header, ObjectKind};
use crate::model::{Commit, Kind, Piece, Record, Role, Slot, Xid};

/// What a segment hands on to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Carry {
    open: Option<Open>,
    /// Whether a message's pieces are under way; `None` if nothing has told yet.
    joining: Option<bool>,
}

impl Carry {
    /// Nothing is open: at the beginning of a log, and behind a fence.
    pub(crate) const NOTHING: Self = Self { open: None, joining: Some(false) };
}

/// A transaction under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Open {
    /// Not known if it began in an earlier segment.
    xid: Option<Xid>,
    began: Slot,
}

type Wrong = &'static str;

/// What the records of one segment come to.
#[derive(Debug)]
pub(crate) struct Tally {
    slot: Slot,
    open: Option<Open>,
    joining: Option<bool>,
    /// What the first record that tells asks of the segment before.
    joined_before: Option<bool>,
    needs_from: Slot,
    ends: Commit,
    derived: Footer,
    /// Whether the transaction that was open before completes here.
    completes_inherited: bool,
    /// Whether `derived` holds transaction numbers.
    xids_seen: bool,
    only_heartbeats: bool,
}

impl Tally {
    /// Begins a segment; of what came before, its header is believed until [`Account::join`].
    pub(crate) fn new(header: &Header) -> Self {
        let inside = header.flags.has(Flags::STARTS_INSIDE);
        let open = inside.then_some(Open { xid: None, began: header.needs_from });
        Self {
            slot: header.slot,
            open,
            joining: None,
            joined_before: None,
            needs_from: open.map_or(header.slot, |open| open.began),
            ends: Commit { position: header.from, time: header.from_time },
            derived: Footer::default(),
            completes_inherited: false,
            xids_seen: false,
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
            (Kind::Session, _) => self.open = None,
            (Kind::Gap, _) => self.derived.gaps.push(Gap::decode(&record.wire).map_err(|_| "a gap that is none")?),
            (_, Role::Opens(_)) if self.open.is_some() => return Err("a transaction begins inside another"),
            (_, Role::Opens(xid)) => self.open = Some(Open { xid: Some(xid), began: self.slot }),
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
        match self.open.take().map(|open| open.xid) {
            Some(Some(xid)) => {
                let first = !self.xids_seen && (self.completes_inherited || self.derived.transactions == 0);
                self.derived.xid_least = if first { xid } else { self.derived.xid_least.min(xid) };
                self.derived.xid_most = self.derived.xid_most.max(xid);
                self.xids_seen = true;
            }
            Some(None) => self.completes_inherited = true,
            None => {}
        }
        self.derived.transactions += 1;
    }

    fn piece(&mut self, record: &Record) -> Result<(), Wrong> {
        let (before, after) = match (record.piece, self.joining) {
            // Our own records may stand between the pieces of a message; a new session makes void what was open.
            (Piece::Whole, joining) if record.kind == Kind::Session => (None, joining.map(|_| false).or(Some(false))),
            (Piece::Whole, joining) if matches!(record.kind, Kind::Gap | Kind::Context) => (None, joining),
            (Piece::Whole | Piece::First, Some(true)) => return Err("a message inside another"),
            (Piece::Middle | Piece::Last, Some(false)) => return Err("a piece without its beginning"),
            (Piece::Whole, Some(false) | None) => (Some(false), Some(false)),
            (Piece::First, Some(false) | None) => (Some(false), Some(true)),
            (Piece::Middle, Some(true) | None) => (Some(true), Some(true)),
            (Piece::Last, Some(true) | None) => (Some(true), Some(false)),
        };
        if self.joining.is_none() {
            self.joined_before = before;
        }
        self.joining = after;
        Ok(())
    }

    /// Compares with what the segment says of itself.
    pub(crate) fn compare(self, header: &Header, footer: &Footer) -> Result<Account, Wrong> {
        let Self { derived, ends, open, .. } = &self;
        let heartbeats_only = self.only_heartbeats && derived.records > 0;
        let starts_inside = self.needs_from != self.slot;
        let xids = (derived.xid_least, derived.xid_most);
        let claimed = (footer.xid_least, footer.xid_most);
        #[rustfmt::skip]
        let claims = [
            (header.to == ends.position,                                           "the header's position is not that of its records"),
            (header.to_time == ends.time,                                          "the header's time is not that of its records"),
            (header.needs_from == self.needs_from,                                 "the header's slot to read from is not that of its records"),
            (header.flags.has(Flags::STARTS_INSIDE) == starts_inside,              "the header does not say that it starts inside a transaction, or says so wrongly"),
            (header.flags.has(Flags::ENDS_INSIDE) == open.is_some(),               "the header does not say that it ends inside a transaction, or says so wrongly"),
            (header.flags.has(Flags::HOLDS_GAP) != derived.gaps.is_empty(),       "the header does not say that it holds a gap, or says so wrongly"),
            ((header.kind == ObjectKind::Heartbeat) == heartbeats_only,            "it is a heartbeat with more than heartbeats, or should be one"),
            (header.kind != ObjectKind::Fence || derived.records == 0,             "it is a fence with records"),
            (footer.frames == derived.frames,                                      "the footer's frames are not those that are there"),
            (footer.records == derived.records,                                    "the footer counts other records"),
            (footer.transactions == derived.transactions,                          "the footer counts other transactions"),
            (self.completes_inherited || claimed == xids,                          OTHER_XIDS),
            (footer.gaps == derived.gaps,                                          "the footer's gaps are not those of its records"),
        ];
        if let Some((_, wrong)) = claims.into_iter().find(|(holds, _)| !holds) {
            return Err(wrong);
        }
        let inherited = Inherited { claimed, others: self.xids_seen.then_some(xids) };
        Ok(Account {
            open_before: header.flags.has(Flags::STARTS_INSIDE).then_some(self.needs_from),
            joined_before: self.joined_before,
            completes: self.completes_inherited.then_some(inherited),
            carry: Carry { open: self.open, joining: self.joining },
        })
    }
}

const OTHER_XIDS: Wrong = "the footer's transaction numbers are not those of its records";

/// What a segment proves of itself, and what it says of the segment before it.
#[derive(Debug)]
pub(crate) struct Account {
    /// Where the transaction began that was open before.
    open_before: Option<Slot>,
    /// Whether a message's pieces were under way before; `None` if no record tells.
    joined_before: Option<bool>,
    /// If the transaction completes here that was open before.
    completes: Option<Inherited>,
    carry: Carry,
}

/// Transaction numbers that can be compared once the inherited one is known.
#[derive(Clone, Copy, Debug)]
struct Inherited {
    claimed: (Xid, Xid),
    others: Option<(Xid, Xid)>,
}

impl Account {
    /// Puts the segment behind the one that handed on `before`; `None` if nothing is known of that. Gives what it hands on.
    pub(crate) fn join(self, before: Option<Carry>) -> Result<Carry, Wrong> {
        let Some(before) = before else { return Ok(self.carry) };
        let open = before.open.map(|open| open.began);
        if open.is_some() != self.open_before.is_some() {
            return Err("the header does not say that it starts inside a transaction, or says so wrongly");
        }
        if open != self.open_before {
            return Err("the header's slot to read from is not that of its records");
        }
        match (before.joining, self.joined_before) {
            (Some(true), Some(false)) => return Err("a message inside another"),
            (Some(false), Some(true)) => return Err("a piece without its beginning"),
            (Some(_) | None, Some(_) | None) => {}
        }
        let xid = before.open.and_then(|open| open.xid);
        if let (Some(Inherited { claimed, others }), Some(xid)) = (self.completes, xid) {
            let (least, most) = others.unwrap_or((xid, xid));
            if claimed != (least.min(xid), most.max(xid)) {
                return Err(OTHER_XIDS);
            }
        }
        let Carry { open, joining } = self.carry;
        let open = open.map(|open| Open { xid: open.xid.or(xid), ..open });
        Ok(Carry { open, joining: joining.or(before.joining) })
    }
}
