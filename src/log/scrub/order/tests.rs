//! Whoever watches hears of every object once, in order, however many are looked at at once; and the pace is kept.

use std::time::Duration;

use super::*;
use crate::log::fixture::{Fixture, main_source};
use crate::log::history::History;
use crate::log::scrub::tests::{flip, long_log, segment};
use crate::log::scrub::{Outcome, scrub};
use crate::store::{Fate, Keys};

/// What a watch was told, in its order.
#[derive(Default)]
struct Heard {
    read: u64,
    sound: Vec<(ObjectKey, bool)>,
    found: Vec<ObjectKey>,
}

impl Watch for Heard {
    fn read(&mut self, bytes: u64) {
        self.read += bytes;
    }

    fn sound(&mut self, object: &ObjectKey, _bytes: u64, hash: Option<&[u8; 32]>) {
        self.sound.push((object.clone(), hash.is_some()));
    }

    fn found(&mut self, finding: &Finding) {
        self.found.push(finding.object.clone());
    }
}

#[tokio::test]
async fn every_object_is_named_once_and_in_its_order_however_many_are_looked_at_at_once() {
    let fixture = long_log(56).await;
    let broken = segment(9);
    let body = fixture.object(9).await;
    fixture.store.tamper(&broken, Some(flip(&body, body.len() / 2)));
    let mut all = Vec::new();
    for prefix in ["checkpoint/main/", "log/main/"] {
        let mut keys = Keys::new(&*fixture.env.store, prefix, None);
        while let Some(key) = keys.next().await.unwrap() {
            all.push(key);
        }
    }
    let mut alone = None;
    for jobs in [1, 2, 7] {
        let mut heard = Heard::default();
        let order = Order { jobs, ..Order::all(Depth::Full) };
        let report = scrub(&fixture.env, &main_source(), order, &mut heard).await;
        assert_eq!((heard.found, heard.read), (vec![broken.clone()], report.bytes_checked), "{jobs} jobs");
        assert!(heard.sound.iter().all(|(key, hashed)| *hashed == key.as_str().starts_with("log/")));
        let segments = heard.sound.iter().map(|(key, _)| key).filter(|key| key.as_str().starts_with("log/"));
        assert!(segments.is_sorted(), "{jobs} jobs");
        let mut named: Vec<_> = heard.sound.iter().map(|(key, _)| key.clone()).chain([broken.clone()]).collect();
        named.sort();
        assert_eq!(named, all, "{jobs} jobs");
        assert_eq!(*alone.get_or_insert(report.clone()), report, "{jobs} jobs find what one finds");
    }
}

#[tokio::test]
async fn l9_a_paced_verification_reads_no_faster_than_it_may() {
    let fixture = Fixture::with_a_log(57).await;
    let order = Order { bytes_per_second: Some(20), ..Order::all(Depth::Full) };
    let begun = fixture.clock.tick();
    let (source, mut nobody) = (main_source(), ());
    let verifying = scrub(&fixture.env, &source, order, &mut nobody);
    tokio::pin!(verifying);
    // So little at a time that an unpaced verification would be over long before.
    let report = loop {
        if let std::task::Poll::Ready(report) = futures::poll!(verifying.as_mut()) {
            break report;
        }
        fixture.clock.advance(Duration::from_millis(1));
        tokio::task::yield_now().await;
    };
    let seconds = fixture.clock.tick().since(begun).as_secs();
    assert_eq!(report.outcome(), Outcome::Sound);
    let segments: u64 = History::load(&fixture.env, &source).await.unwrap().entries.len() as u64;
    assert!(report.bytes_checked > 300 * segments && seconds >= report.bytes_checked / 20, "{report:?} in {seconds} s");
}

/// A daemon captures while the store is verified: a put that was in flight when its neighbours were listed looked like
/// a lost object, and alarmed somebody at night.
#[tokio::test]
async fn an_object_that_lands_while_the_log_is_verified_is_proved_and_not_called_missing() {
    let fixture = long_log(58).await;
    let late = segment(100);
    // Lists as a store does whose newest object landed out of order: a slot is left out, and its object is there.
    let unlisted = late.clone();
    let env = fixture.fated(move |_asked| {
        let unlisted = unlisted.clone();
        Fate::lists(move |page| page.into_iter().filter(|key| *key != unlisted).collect())
    });
    for depth in [Depth::Quick, Depth::Full] {
        let mut heard = Heard::default();
        let report = scrub(&env, &main_source(), Order::all(depth), &mut heard).await;
        assert_eq!((report.findings, heard.found), (vec![], vec![]), "{depth:?}");
        assert_eq!(heard.sound.iter().filter(|(key, _)| *key == late).count(), 1, "{depth:?}");
    }
    let body = fixture.object(100).await;
    fixture.store.tamper(&late, Some(flip(&body, body.len() / 2)));
    let report = scrub(&env, &main_source(), Order::all(Depth::Full), &mut ()).await;
    assert_eq!(report.findings.iter().map(|finding| finding.object.clone()).collect::<Vec<_>>(), vec![late.clone()]);
    fixture.store.tamper(&late, None);
    assert_eq!(scrub(&env, &main_source(), Order::all(Depth::Quick), &mut ()).await.outcome(), Outcome::Damaged);
}
