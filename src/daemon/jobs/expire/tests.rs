//! What the job deletes leaves the daemon's catalog too.

use std::time::Duration;

use super::*;
use crate::catalog::{Index, IndexError, MemoryIndex, Opened};
use crate::daemon::fixture::{put_base, write_commits};
use crate::daemon::keeper::{Keeper, Place};
use crate::log::History;
use crate::log::fixture::{Fixture, main_source};
use crate::log::retention::Rule;
use crate::model::Slot;

/// An index in memory.
struct Here;

impl Place for Here {
    fn open(&self) -> Result<(Box<dyn Index>, Opened), IndexError> {
        Ok((Box::<MemoryIndex>::default(), Opened::Kept))
    }

    fn is_there(&self) -> bool {
        true
    }
}

async fn known(keeper: &Keeper) -> Vec<Slot> {
    loop {
        let page = keeper.page(&main_source(), Slot::NONE).await;
        if !keeper.is_stale() {
            return page.iter().map(|entry| entry.slot).collect();
        }
        tokio::task::yield_now().await;
    }
}

/// The daemon went on to answer from entries of segments that were gone, until it was started again.
#[tokio::test]
async fn l7_what_a_scheduled_expiry_deletes_leaves_the_catalog_of_the_daemon() {
    let fixture = Fixture::new(440);
    write_commits(&fixture, 1..9).await;
    let log = fixture.log().await;
    put_base(&fixture, log, 2).await;
    put_base(&fixture, log, 5).await;
    let (keeper, keeping) = Keeper::new(&fixture.env, vec![main_source()], Arc::new(Here));
    #[expect(clippy::disallowed_methods, reason = "a test owns its tasks")]
    let task = tokio::spawn(keeping.run());
    assert_eq!(known(&keeper).await.len(), 9, "a fence and eight segments");
    let rule = Rule { log: Duration::from_millis(15), bases: Duration::from_millis(15) };
    let doubting = keeper.clone();
    let job = Expire {
        env: fixture.env.clone(),
        sources: vec![main_source()],
        order: Order { rule, holds: Vec::new(), delete: true, claims: None },
        memory: Memory::open(None),
        told: Arc::new(move |source| doubting.doubt(source)),
    };
    let said = job.run().await.unwrap();
    assert!(said.contains("1 bases had expired and were deleted"), "{said}");
    // The keeper looks after what is in doubt every few seconds.
    fixture.clock.advance(Duration::from_secs(5));
    let stored = History::load(&fixture.env, &main_source()).await.unwrap();
    let stored: Vec<_> = stored.entries.iter().map(|entry| entry.slot).collect();
    assert!(stored.first() > Some(&Slot::new(2)), "something had expired: {stored:?}");
    assert_eq!(known(&keeper).await, stored);
    drop((keeper, job));
    task.await.unwrap();
}
