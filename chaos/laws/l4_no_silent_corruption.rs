//! L4: what nothing has damaged is found whole; what was damaged gives an error or true rows, never wrong ones, and a
//! verification names the object.

use bytes::Bytes;

use crate::chaos::faults::Mischief;
use crate::chaos::laws::l2_whole_transactions_in_order;
use crate::chaos::oracle;
use crate::chaos::upstream::Upstream;
use crate::log::scrub::Order;
use crate::log::{Depth, History, LogEnv, Outcome, scrub};
use crate::model::{ObjectKey, Position, Slot, SourceName};
use crate::store::layout::{self, Named};
use crate::store::{MemoryStore, Part, Store};

/// Damages that are tried on one store.
const DAMAGES: u64 = 12;

/// Whether a full verification has nothing to say.
pub async fn check(env: &LogEnv, source: &SourceName) -> Result<(), String> {
    let report = scrub(env, source, Order::all(Depth::Full), &mut ()).await;
    if report.outcome() == Outcome::Sound { Ok(()) } else { Err(format!("{:?}", report.findings)) }
}

/// Damages some objects, one at a time, looks what comes of it, and puts them right again. A restore begins behind `point`.
pub async fn check_damaged(
    env: &LogEnv,
    store: &MemoryStore,
    source: &SourceName,
    (upstream, point): (&Upstream, Position),
    mischief: &Mischief,
) -> Result<(), String> {
    let history = History::load(env, source).await.map_err(|error| error.to_string())?;
    let first = history.live().next().map_or(Slot::FIRST, |entry| entry.slot);
    // What stands before the boundary is a fence, or goes the next time: it is of the log no more.
    let within = |key: &ObjectKey| matches!(layout::parse(key), Some(Named::Segment { slot, .. }) if slot >= first);
    let mut keys = store.list("log/", None).await.map_err(|error| error.to_string())?;
    keys.retain(within);
    for _ in 0..DAMAGES {
        let (Some(key), Some(other)) = (some(&keys, mischief), some(&keys, mischief)) else { return Ok(()) };
        let whole = |key: ObjectKey| async move { store.get(&key, Part::Whole).await.map(|sealed| sealed.bytes()) };
        let body = whole(key.clone()).await.map_err(|error| error.to_string())?;
        let (how, damaged) = match mischief.below(4) {
            0 => ("flipped", Some(flip(&body, mischief))),
            1 => ("cut", Some(body.slice(..at(&body, mischief)))),
            2 => ("swapped", Some(whole(other).await.map_err(|error| error.to_string())?)),
            _ => ("removed", None),
        };
        if damaged.as_ref() == Some(&body) {
            continue;
        }
        let removed = damaged.is_none();
        store.tamper(&key, damaged);
        let read = oracle::restored(env, source, point).await;
        let report = scrub(env, source, Order::all(Depth::Full), &mut ()).await;
        store.tamper(&key, Some(body));
        if let Ok((rows, _)) = read {
            let true_rows = l2_whole_transactions_in_order::check(&rows, upstream, point);
            true_rows.map_err(|wrong| format!("wrong rows from {key}, {how}: {wrong}"))?;
        }
        let named = report.findings.iter().any(|finding| finding.object == key);
        let near_the_end = keys.iter().rev().take(4).any(|last| *last == key);
        let untold = removed && near_the_end;
        if !(named || untold) {
            return Err(format!("{key} was {how}, and the verification says {:?}", report.findings));
        }
    }
    Ok(())
}

fn at(body: &Bytes, mischief: &Mischief) -> usize {
    usize::try_from(mischief.below(u64::try_from(body.len()).unwrap_or(1))).unwrap_or(0)
}

fn some(keys: &[ObjectKey], mischief: &Mischief) -> Option<ObjectKey> {
    let many = u64::try_from(keys.len()).unwrap_or(1);
    keys.get(usize::try_from(mischief.below(many)).unwrap_or(0)).cloned()
}

fn flip(body: &Bytes, mischief: &Mischief) -> Bytes {
    let (mut flipped, at, bit) = (body.to_vec(), at(body, mischief), mischief.below(8));
    if let Some(byte) = flipped.get_mut(at) {
        *byte ^= 1 << bit;
    }
    flipped.into()
}
