//! For which keys a store is sealed: every data key's stretch of objects, found without reading every header.
//!
//! Within one reign a data key is followed by the next and never comes back. So where the first and the last object of a
//! run carry the same wraps, all between them do, and a run of a million is settled by some dozen reads. What is void
//! needs no key, and is not looked for.

use std::collections::BTreeMap;

use crate::codec::segment::Header;
use crate::log::env::LogEnv;
use crate::log::error::{LogError, ObjectError};
use crate::model::limits::HEADER_BYTES_MAX;
use crate::model::{BaseId, ObjectKey, Slot, SourceName};
use crate::store::layout::{self, Named};
use crate::store::{Keys, Part};

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

/// How objects of one kind are named.
type Name = fn(&SourceName, Slot) -> ObjectKey;

/// Objects of one kind, in order.
struct Row<'a> {
    numbers: Vec<u64>,
    key: Box<dyn Fn(u64) -> ObjectKey + Send + Sync + 'a>,
}

/// Every stretch of a source's log and bases.
pub async fn stretches(env: &LogEnv, source: &SourceName) -> Result<Vec<Stretch>, LogError> {
    let mut found = Vec::new();
    let rows: [(String, Name); 3] = [
        (layout::segments_prefix(source), layout::segment),
        (layout::checkpoints_prefix(source), layout::checkpoint),
        (layout::boundaries_prefix(source), layout::boundary),
    ];
    for (prefix, name) in rows {
        let mut keys = Keys::new(&*env.store, prefix, None);
        let mut numbers = Vec::new();
        while let Some(key) = keys.next().await? {
            let named = layout::parse(&key);
            if let Some(Named::Segment { slot, .. } | Named::Checkpoint { slot, .. } | Named::Boundary { slot, .. }) =
                named
            {
                numbers.push(slot.get());
            }
        }
        let row = Row { numbers, key: Box::new(move |number| name(source, Slot::new(number))) };
        found.extend(row.stretches(env).await?);
    }
    // Few, and each sealed under a data key of its own.
    let mut holds = Keys::new(&*env.store, layout::holds_prefix(source), None);
    while let Some(key) = holds.next().await? {
        let row = Row { numbers: vec![0], key: Box::new(move |_| key.clone()) };
        found.extend(row.stretches(env).await?);
    }
    for row in bases(env, source).await? {
        found.extend(row.stretches(env).await?);
    }
    Ok(found)
}

/// The objects of each base: its parts, and last its manifest.
async fn bases<'a>(env: &LogEnv, source: &'a SourceName) -> Result<Vec<Row<'a>>, LogError> {
    let mut parts: BTreeMap<BaseId, Vec<u64>> = BTreeMap::new();
    let mut keys = Keys::new(&*env.store, layout::bases_prefix(source), None);
    while let Some(key) = keys.next().await? {
        match layout::parse(&key) {
            Some(Named::BasePart { base, number, .. }) => parts.entry(base).or_default().push(u64::from(number)),
            Some(Named::Manifest { base, .. }) => parts.entry(base).or_default().push(u64::MAX),
            Some(_) | None => {}
        }
    }
    let row = |(base, mut numbers): (BaseId, Vec<u64>)| {
        numbers.sort_unstable();
        let key = move |number| match u32::try_from(number) {
            Ok(number) => layout::base_part(source, base, number),
            Err(_) => layout::manifest(source, base),
        };
        Row { numbers, key: Box::new(key) }
    };
    Ok(parts.into_iter().map(row).collect())
}

impl Row<'_> {
    async fn stretches(&self, env: &LogEnv) -> Result<Vec<Stretch>, LogError> {
        let Some(end) = self.numbers.len().checked_sub(1) else { return Ok(Vec::new()) };
        let (first, last) = (self.header(env, 0).await?, self.header(env, end).await?);
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
            let (ends, begins) = (self.header(env, middle).await?, self.header(env, middle + 1).await?);
            left.push((middle + 1, begins, to, last_header));
            left.push((at, header, middle, ends));
        }
        Ok(found)
    }

    fn name(&self, at: usize) -> ObjectKey {
        (self.key)(self.numbers.get(at).copied().unwrap_or_default())
    }

    async fn header(&self, env: &LogEnv, at: usize) -> Result<Header, LogError> {
        let key = self.name(at);
        let bytes = u64::try_from(HEADER_BYTES_MAX).unwrap_or(u64::MAX);
        let start = env.store.get(&key, Part::First { bytes }).await?;
        let (header, _) = Header::decode(start.as_bytes()).map_err(|error| ObjectError { key, kind: error.into() })?;
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
