//! What goes wrong, on which request, how often; and the count of what did, since a fault that never fired proves nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What can go wrong between a client and a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// An error before anything is done, with this status.
    FailBefore(u16),
    /// A 404 in nobody's words: what stands in between has lost its way to the server. Nothing is done.
    NoRoute,
    /// Done, and answered with a 500.
    LandThenFail,
    /// Done, and the connection breaks before the answer.
    ReplyLost,
    /// 409 `ConditionalRequestConflict`; not done.
    Conflict,
    /// Not done now and not answered; the same request lands when [`Plan::late`] is released.
    LateDuplicate,
    /// 503 `SlowDown`; not done.
    SlowDown,
    /// Nothing is ever answered.
    Blackhole,
    /// Half of the body comes, and nothing more.
    StalledBody,
    /// The body breaks off half-way.
    TruncatedBody,
    /// One bit of the body is another one.
    FlippedBit,
    /// The answer tells another checksum than the object's.
    WrongChecksum,
    /// A range is answered with the bytes one further on.
    RangeOffByOne,
    /// A page of names leaves some out in its middle.
    ListHole,
    /// A page does not know the newest names.
    ListStale,
    /// A page begins where the one before began.
    ListRepeated,
    /// A page's names stand in another order.
    ListReordered,
    /// The access key has expired.
    ExpiredCredentials,
    /// Everything is denied.
    Denied,
    /// Acknowledged, with the checksum that was sent, and never stored.
    Vanishes,
    /// The request's time is too far from the server's.
    Skewed,
    /// The answer bears a time so many minutes from the true one.
    OtherDate(i16),
}

/// Which requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum On {
    /// An object is created.
    Put,
    /// An object is read.
    Get,
    /// An object is asked about.
    Head,
    /// Names are listed.
    List,
    /// Versions of names are listed.
    Versions,
    /// An object is deleted.
    Delete,
    /// Everything else.
    Other,
}

/// What is to go wrong, and what did.
#[derive(Debug, Default)]
pub struct Plan(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    due: Vec<(On, Fault, u64)>,
    planned: BTreeSet<Fault>,
    fired: BTreeMap<Fault, u64>,
    asked: BTreeMap<On, u64>,
    expired: Vec<String>,
}

impl Plan {
    /// The next `times` requests of this kind meet this fault, after those planned before.
    pub fn add(&self, on: On, fault: Fault, times: u64) {
        let mut state = self.state();
        state.due.push((on, fault, times));
        state.planned.insert(fault);
    }

    /// Nothing more goes wrong.
    pub fn clear(&self) {
        self.state().due.clear();
    }

    /// An access key is refused from now on.
    pub fn expire(&self, access: &str) {
        self.state().expired.push(access.to_owned());
    }

    /// Faults that were planned and never struck: a test that ends with one of them has shown nothing.
    pub fn idle(&self) -> Vec<Fault> {
        let state = self.state();
        state.planned.iter().filter(|fault| !state.fired.contains_key(fault)).copied().collect()
    }

    /// How often a fault struck.
    pub fn fired(&self, fault: Fault) -> u64 {
        self.state().fired.get(&fault).copied().unwrap_or(0)
    }

    /// How many requests of a kind came.
    pub fn asked(&self, on: On) -> u64 {
        self.state().asked.get(&on).copied().unwrap_or(0)
    }

    /// Counts a request, and says which fault it meets.
    pub(crate) fn meet(&self, on: On, authorization: &str) -> Option<Fault> {
        let mut state = self.state();
        *state.asked.entry(on).or_default() += 1;
        let expired = state.expired.iter().any(|access| authorization.contains(&format!("Credential={access}/")));
        let fault = if expired { Some(Fault::ExpiredCredentials) } else { state.draw(on) };
        if let Some(fault) = fault {
            *state.fired.entry(fault).or_default() += 1;
        }
        fault
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn draw(&mut self, on: On) -> Option<Fault> {
        let due = self.due.iter_mut().find(|(which, _, times)| *which == on && *times > 0)?;
        due.2 -= 1;
        Some(due.1)
    }
}
