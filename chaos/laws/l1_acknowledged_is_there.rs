//! L1: what was acknowledged to the source is in the store, every transaction of it.

use crate::chaos::upstream::{Happened, Upstream};
use crate::model::Position;

/// Whether everything that was acknowledged is restored behind `point`, up to where a base holds it.
pub fn check(
    (restored, known): &(Vec<Happened>, Position),
    upstream: &Upstream,
    point: Position,
) -> Result<(), String> {
    let acknowledged = upstream.acknowledged();
    if acknowledged > *known {
        return Err(format!("acknowledged up to {}, the store knows up to {}", acknowledged.get(), known.get()));
    }
    let within = |position: Position| position > point && position <= acknowledged;
    let promised = upstream.book().iter().filter(|happened| within(happened.commit.position)).count();
    if restored.len() < promised {
        return Err(format!("{promised} transactions were acknowledged, {} are there", restored.len()));
    }
    Ok(())
}
