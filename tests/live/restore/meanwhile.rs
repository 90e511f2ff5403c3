//! What expires while it is verified is told as expired; what is missing of a base that is still there is damage.

use std::sync::{Arc, Mutex};

use holdfast::codec::base::Manifest;
use holdfast::daemon::verify::{self, Order, Verified};
use holdfast::log::retention::Doomed;
use holdfast::log::scrub::{Depth, Outcome, Verdict};
use holdfast::log::{History, LogEnv, expiry};
use holdfast::model::{BaseId, ObjectKey, Slot};
use holdfast::store::{Fate, Fated, Op, layout};

use crate::restore::site::Site;

/// What happens between the listing of a base and the reading of its first part.
enum Then {
    /// It expires.
    Expires,
    /// Somebody takes that part away.
    LosesThePart,
}

/// What happens to a base in this log, once somebody reads `at`.
async fn happen(below: LogEnv, at: ObjectKey, base: BaseId, then: Then) {
    match then {
        Then::Expires => {
            let source = "main".parse().unwrap();
            let history = History::load(&below, &source).await.unwrap();
            let doomed = Doomed { first: Slot::FIRST, bases: vec![base] };
            let expired = expiry::carry_out(&below, &source, &history, &doomed).await.unwrap();
            assert_eq!(expired.bases, 1);
        }
        Then::LosesThePart => below.store.delete(&at).await.unwrap(),
    }
}

#[tokio::test]
async fn l10_a_base_that_expires_while_it_is_verified_is_no_damage_and_one_that_loses_a_part_is() {
    let site = Site::start("create table t (id int primary key, v text)").await;
    site.sql("insert into t select i, 'x' from generate_series(1, 100) i");
    site.capture().await;
    let (lost, expired) = (site.base().await, site.base().await);
    let part = |of: &Manifest| layout::base_part(&site.source, of.base, of.parts[0].number);
    let verified = async |base: BaseId, at: ObjectKey, then: Then| -> Verified {
        let name = at.to_string();
        let happens = Arc::new(Mutex::new(Some(happen(site.env.clone(), at, base, then))));
        let due = Arc::clone(&happens);
        let store = Fated::over(&site.env.store, move |asked| {
            let read = asked.op == Op::Get && asked.name == name;
            due.lock().unwrap().take_if(|_| read).map_or(Fate::Done, Fate::first)
        });
        let env = LogEnv { store, ..site.env.clone() };
        let order = Order { depth: Depth::Full, since: None, jobs: 1, bytes_per_second: None };
        let verified = verify::source(&env, &site.source, order, None, &mut ()).await;
        assert!(happens.lock().unwrap().is_none(), "nothing happened meanwhile");
        verified
    };
    // Once while its manifest is read, once while its parts are.
    for (at, base) in [(part(&expired), expired.base), (layout::manifest(&site.source, lost.base), lost.base)] {
        let seen = verified(base, at.clone(), Then::Expires).await;
        assert_eq!((seen.outcome(), seen.expired.clone()), (Outcome::Sound, vec![base]), "{at}: {seen:?}");
        assert!(seen.bases.iter().all(|(other, _)| *other != base));
    }
    let kept = site.base().await;
    let at = part(&kept);
    let seen = verified(kept.base, at.clone(), Then::LosesThePart).await;
    assert_eq!((seen.outcome(), seen.expired.len()), (Outcome::Damaged, 0));
    let found: Vec<_> = seen.reports().flat_map(|report| &report.findings).collect();
    assert_eq!(found.iter().map(|one| (&one.object, one.verdict)).collect::<Vec<_>>(), [(&at, Verdict::Missing)]);
}
