//! For which keys a store is sealed: every data key's stretch of objects, found without reading every header.
//!
//! Within one reign a data key is followed by the next and never comes back. So where the first and the last object of a
//! run carry the same wraps, all between them do, and a run of a million is settled by some dozen reads. What is void
//! needs no key, and would make the old one come back behind a fence: no run begins or ends with it.
//!
//! One object that cannot be read tells nothing of its neighbours: it is named, and left out.

use std::collections::{BTreeMap, BTreeSet};

use crate::codec::segment::Header;
use crate::log::env::LogEnv;
use crate::log::error::LogError;
use crate::log::object;
use crate::model::limits::IN_FLIGHT_PUTS_MAX;
use crate::model::{BaseId, ObjectKey, Slot, SourceName};
use crate::store::layout::{self, Named};
use crate::store::{Keys, StoreErrorKind};

/// Objects in a row that one data key sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// The first of them.
    pub first: ObjectKey,
    /// The last.
    pub last: ObjectKey,
    /// How many there are.
    pub objects: u64,
    /// The first one's header: its wraps are those of all.
    pub header: Header,
    /// The last one's.
    pub last_header: Header,
}

/// For which keys a source's objects are sealed.
#[derive(Debug, Default)]
pub struct Wrapped {
    /// Every stretch of its log and bases.
    pub stretches: Vec<Stretch>,
    /// What is there and cannot be read, each error with its object.
    pub closed: Vec<LogError>,
}

/// How objects of one kind are named.
type Name = fn(&SourceName, Slot) -> ObjectKey;

/// Objects of one kind, in order.
struct Row<'a> {
    prefix: String,
    numbers: Vec<u64>,
    key: Box<dyn Fn(u64) -> ObjectKey + Send + Sync + 'a>,
    /// How far behind a fence an older writer's late objects may stand.
    late: usize,
    headers: BTreeMap<u64, Header>,
    /// What no run may begin or end with.
    left_out: BTreeSet<u64>,
}

/// Why an object's header says nothing.
enum Mute {
    /// It has gone since it was listed.
    Gone(u64),
    /// It cannot be read.
    Closed(u64, LogError),
    /// It is an older writer's.
    Void(u64),
    /// The store does not serve.
    Store(LogError),
}

/// Every stretch of a source's log and bases.
pub async fn stretches(env: &LogEnv, source: &SourceName) -> Result<Wrapped, LogError> {
    let mut found = Wrapped::default();
    let rows: [(String, Name, usize); 3] = [
        (layout::segments_prefix(source), layout::segment, IN_FLIGHT_PUTS_MAX),
        (layout::checkpoints_prefix(source), layout::checkpoint, 0),
        (layout::boundaries_prefix(source), layout::boundary, 0),
    ];
    for (prefix, name, late) in rows {
        let row = Row { late, ..Row::new(prefix, move |number| name(source, Slot::new(number))) };
        row.find(env, &mut found).await?;
    }
    // Few, and each sealed under a data key of its own.
    let mut holds = Keys::new(&*env.store, layout::holds_prefix(source), None);
    while let Some(key) = holds.next().await? {
        Row::new(key.to_string(), move |_| key.clone()).find(env, &mut found).await?;
    }
    for base in bases(env, source).await? {
        let manifest = layout::manifest(source, base);
        let prefix = manifest.as_str().trim_end_matches(|letter| letter != '/').to_owned();
        let key = move |number| match u32::try_from(number) {
            Ok(number) => layout::base_part(source, base, number),
            Err(_) => manifest.clone(),
        };
        Row::new(prefix, key).find(env, &mut found).await?;
    }
    Ok(found)
}

async fn bases(env: &LogEnv, source: &SourceName) -> Result<BTreeSet<BaseId>, LogError> {
    let mut bases = BTreeSet::new();
    let mut keys = Keys::new(&*env.store, layout::bases_prefix(source), None);
    while let Some(key) = keys.next().await? {
        if let Some(Named::BasePart { base, .. } | Named::Manifest { base, .. }) = layout::parse(&key) {
            bases.insert(base);
        }
    }
    Ok(bases)
}

/// An object's place in its row: a base's manifest is its last.
fn number(key: &ObjectKey) -> Option<u64> {
    match layout::parse(key)? {
        Named::Segment { slot, .. } | Named::Checkpoint { slot, .. } | Named::Boundary { slot, .. } => Some(slot.get()),
        Named::BasePart { number, .. } => Some(u64::from(number)),
        Named::Manifest { .. } => Some(u64::MAX),
        Named::Hold { .. } => Some(0),
        Named::Rewrap { .. } | Named::First { .. } | Named::Probe(_) => None,
    }
}

impl<'a> Row<'a> {
    fn new(prefix: String, key: impl Fn(u64) -> ObjectKey + Send + Sync + 'a) -> Self {
        let (headers, left_out) = (BTreeMap::new(), BTreeSet::new());
        Self { prefix, numbers: Vec::new(), key: Box::new(key), late: 0, headers, left_out }
    }

    async fn list(&mut self, env: &LogEnv) -> Result<(), LogError> {
        let mut keys = Keys::new(&*env.store, self.prefix.clone(), None);
        self.numbers.clear();
        while let Some(key) = keys.next().await? {
            self.numbers.extend(number(&key).filter(|number| !self.left_out.contains(number)));
        }
        self.numbers.sort_unstable();
        Ok(())
    }

    /// Looks again without each object that says nothing: every turn leaves one out.
    async fn find(mut self, env: &LogEnv, found: &mut Wrapped) -> Result<(), LogError> {
        self.list(env).await?;
        loop {
            let left_out = match self.stretches(env).await {
                Ok(stretches) => {
                    found.stretches.extend(stretches);
                    return Ok(());
                }
                Err(Mute::Store(error)) => return Err(error),
                Err(Mute::Void(number)) => number,
                Err(Mute::Closed(number, error)) => {
                    found.closed.push(error);
                    number
                }
                Err(Mute::Gone(number)) => {
                    // Expired meanwhile, and others with it, unless it is listed still.
                    self.list(env).await?;
                    if self.numbers.contains(&number) {
                        found.closed.push(LogError::Missing { key: (self.key)(number) });
                    }
                    number
                }
            };
            self.left_out.insert(left_out);
            self.numbers.retain(|number| *number != left_out);
        }
    }

    async fn stretches(&mut self, env: &LogEnv) -> Result<Vec<Stretch>, Mute> {
        let Some(end) = self.numbers.len().checked_sub(1) else { return Ok(Vec::new()) };
        let (first, last) = (self.end(env, 0).await?, self.end(env, end).await?);
        let mut found: Vec<Stretch> = Vec::new();
        // Right halves wait while left ones are looked at.
        let mut left = vec![(0, first, end, last)];
        while let Some((at, header, to, last_header)) = left.pop() {
            if at == to || header.wraps == last_header.wraps {
                let many = u64::try_from(to - at + 1).unwrap_or(u64::MAX);
                add(
                    &mut found,
                    Stretch { first: self.name(at), last: self.name(to), objects: many, header, last_header },
                );
                continue;
            }
            let middle = at.midpoint(to);
            let (ends, begins) = (self.end(env, middle).await?, self.end(env, middle + 1).await?);
            left.push((middle + 1, begins, to, last_header));
            left.push((at, header, middle, ends));
        }
        Ok(found)
    }

    fn number(&self, at: usize) -> u64 {
        self.numbers.get(at).copied().unwrap_or_default()
    }

    fn name(&self, at: usize) -> ObjectKey {
        (self.key)(self.number(at))
    }

    /// The header of an object that may begin or end a run.
    async fn end(&mut self, env: &LogEnv, at: usize) -> Result<Header, Mute> {
        let header = self.header(env, at).await?;
        for before in at.saturating_sub(self.late)..at {
            if self.header(env, before).await?.epoch > header.epoch {
                return Err(Mute::Void(self.number(at)));
            }
        }
        Ok(header)
    }

    async fn header(&mut self, env: &LogEnv, at: usize) -> Result<Header, Mute> {
        let number = self.number(at);
        if let Some(header) = self.headers.get(&number) {
            return Ok(header.clone());
        }
        let key = (self.key)(number);
        let header = match object::header(&*env.store, &key).await {
            Ok(found) => found.map_err(|error| Mute::Closed(number, error.into()))?,
            Err(error) if error.kind == StoreErrorKind::Missing => return Err(Mute::Gone(number)),
            Err(error) => return Err(Mute::Store(error.into())),
        };
        self.headers.insert(number, header.clone());
        Ok(header)
    }
}

/// Joins what goes on under the same data key.
fn add(found: &mut Vec<Stretch>, next: Stretch) {
    match found.last_mut() {
        Some(before) if before.header.wraps == next.header.wraps => {
            before.last = next.last;
            before.last_header = next.last_header;
            before.objects += next.objects;
        }
        Some(_) | None => found.push(next),
    }
}

#[cfg(test)]
mod tests;
