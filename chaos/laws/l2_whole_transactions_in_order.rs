//! L2: what is restored is what happened: whole transactions, in commit order, none left out, none twice.

use crate::chaos::upstream::{Happened, Upstream};
use crate::model::Position;

/// Whether the restored transactions are the first ones that happened behind `point`.
pub fn check(restored: &[Happened], upstream: &Upstream, point: Position) -> Result<(), String> {
    let behind = || upstream.book().iter().skip_while(|happened| happened.commit.position <= point);
    if restored.len() > behind().count() {
        return Err("more was restored than ever happened".to_owned());
    }
    let differs = restored.iter().zip(behind()).find(|(restored, happened)| restored != happened);
    match differs {
        None => Ok(()),
        Some((restored, happened)) => Err(format!(
            "transaction {} with {} messages at {} came back as {} with {} at {}",
            happened.xid,
            happened.messages.len(),
            happened.commit.position.get(),
            restored.xid,
            restored.messages.len(),
            restored.commit.position.get(),
        )),
    }
}
