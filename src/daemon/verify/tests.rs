//! What is certain is said, whatever could not be read beside it; and nothing that is stored is passed over.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::crypto::Keyring;
use crate::crypto::file::{FileKey, KeyFile};
use crate::daemon::fixture::{put_base, write_commits};
use crate::entropy::SeededEntropy;
use crate::log::fixture::{Fixture, main_source};
use crate::log::retention::Doomed;
use crate::log::{Hold, expiry, hold, notice, rewrap, wrapped};
use crate::model::limits::CHECKPOINT_EVERY_SLOTS;
use crate::store::order::{self, Claim};
use crate::store::{Fate, Op, Part as Range, Refusal};

const FULL: Order = Order { depth: Depth::Full, since: None, jobs: 1, bytes_per_second: None };

fn told(verified: &Verified) -> Vec<(ObjectKey, Verdict)> {
    verified.reports().flat_map(|report| &report.findings).map(|found| (found.object.clone(), found.verdict)).collect()
}

/// A log of four transactions and a base behind the second.
async fn log_and_base(seed: u64) -> (Fixture, ObjectKey) {
    let fixture = Fixture::new(seed);
    write_commits(&fixture, 1..5).await;
    let base = put_base(&fixture, fixture.log().await, 2).await.base;
    (fixture, layout::manifest(&main_source(), base))
}

/// One object that could not be read made another key's base look as if nothing were known of it.
#[tokio::test]
async fn l4_damage_that_is_certain_is_damage_whatever_could_not_be_read_beside_it() {
    let (fixture, manifest) = log_and_base(460).await;
    let (stranger, theirs) = log_and_base(461).await;
    assert_eq!(manifest, theirs);
    let body = stranger.env.store.get(&theirs, Range::Whole).await.unwrap().bytes();
    fixture.store.tamper(&manifest, Some(body));
    let unread = layout::segment(&main_source(), Slot::new(3));
    let denied = unread.clone();
    let env = fixture.fated(move |asked| {
        Fate::Fails(StoreErrorKind::Refused(Refusal::NoRights)).when(asked.is(Op::Get, denied.as_str()))
    });
    let verified = source(&env, &main_source(), FULL, None, &mut ()).await;
    assert_eq!(told(&verified), [(unread, Verdict::Unreadable), (manifest, Verdict::Foreign)]);
    assert_eq!(verified.outcome(), Outcome::Damaged, "4 comes before 7 where damage is certain");
}

#[tokio::test]
async fn a_wrong_key_can_tell_nothing_of_a_base_either() {
    let (mut fixture, manifest) = log_and_base(462).await;
    fixture.env.keys = Fixture::new(463).env.keys;
    for depth in [Depth::Full, Depth::Quick] {
        let verified = source(&fixture.env, &main_source(), Order { depth, ..FULL }, None, &mut ()).await;
        let told = told(&verified);
        assert!(told.iter().all(|(_, verdict)| *verdict == Verdict::Unreadable), "{depth:?}: {told:?}");
        assert!(told.iter().any(|(object, _)| *object == manifest), "{depth:?}: {told:?}");
        assert_eq!(verified.outcome(), Outcome::CouldNotTell, "{depth:?}");
    }
}

/// The kind of an object, for whoever must read each; a new one has to be thought of here.
fn family(named: &Named) -> Option<&'static str> {
    match named {
        Named::Segment { .. } => Some("segment"),
        Named::Checkpoint { .. } => Some("checkpoint"),
        Named::Boundary { .. } => Some("boundary"),
        Named::Doomed { .. } => Some("notice"),
        Named::Hold { .. } => Some("hold"),
        Named::BasePart { .. } => Some("part"),
        Named::Manifest { .. } => Some("manifest"),
        Named::Rewrap { .. } => Some("rewrap"),
        Named::First { .. } => Some("claim"),
        // Random bytes that `check` put there: nothing is right or wrong about them.
        Named::Probe(_) => None,
    }
}

/// A store with an object of every kind, and its surroundings.
async fn one_of_each(seed: u64) -> (Fixture, LogEnv) {
    let mut fixture = Fixture::new(seed);
    let key = |seed| FileKey::fresh(&SeededEntropy::new(seed));
    let ring = |seeds: &[u64]| {
        let keys = seeds.iter().map(|seed| key(*seed)).collect();
        Arc::new(Keyring::of_key_file(KeyFile { keys, ..KeyFile::default() }))
    };
    fixture.env.keys = ring(&[1]);
    write_commits(&fixture, 1..CHECKPOINT_EVERY_SLOTS + 9).await;
    let (name, log) = (main_source(), fixture.log().await);
    let base = put_base(&fixture, log, 20).await.base;
    notice::give(&fixture.env, &name, &[base]).await.unwrap();
    let history = History::load(&fixture.env, &name).await.unwrap();
    expiry::carry_out(&fixture.env, &name, &history, &Doomed { first: Slot::new(9), bases: Vec::new() }).await.unwrap();
    let held = Hold { name: "case-1".parse().unwrap(), from: Timestamp::MIN, to: Timestamp::MAX };
    hold::add(&fixture.env, &name, log, &held).await.unwrap();
    order::write(&*fixture.env.store, &Claim { number: 1, name: "here".to_owned() }).await.unwrap();
    fixture.env.keys = ring(&[2, 1]);
    for stretch in wrapped::stretches(&fixture.env, &name).await.unwrap().stretches {
        rewrap::wrap_again(&fixture.env, &stretch.header).await.unwrap();
    }
    let env = fixture.env.clone();
    (fixture, env)
}

async fn everything(env: &LogEnv) -> AllVerified {
    let name = main_source();
    let sources = vec![source(env, &name, FULL, None, &mut ()).await];
    let keys = keys(env, &[name], Depth::Full, &mut ()).await;
    AllVerified { sources, keys, claims: claims(env, &mut ()).await }
}

#[tokio::test]
async fn l4_a_flipped_byte_in_an_object_of_any_kind_is_named() {
    let (fixture, env) = one_of_each(464).await;
    let sound = everything(&env).await;
    assert_eq!(sound.outcome(), Outcome::Sound, "{sound:?}");
    let mut victims = BTreeMap::new();
    let mut names = Keys::new(&*env.store, "", None);
    while let Some(key) = names.next().await.unwrap() {
        if let Some(family) = layout::parse(&key).as_ref().and_then(family) {
            // The last of each kind: the first segment is a fence from before the boundary.
            victims.insert(family, key);
        }
    }
    assert_eq!(victims.len(), 9, "every kind is there: {victims:?}");
    for (family, key) in victims {
        let body = env.store.get(&key, Range::Whole).await.unwrap().bytes();
        for at in [0, body.len() / 2, body.len() - 1] {
            let mut flipped = body.to_vec();
            flipped[at] ^= 1;
            fixture.store.tamper(&key, Some(flipped.into()));
            let all = everything(&env).await;
            let found = all.reports().flat_map(|report| &report.findings);
            let found: Vec<_> = found.map(|found| (found.object.clone(), found.verdict)).collect();
            assert_eq!(found, [(key.clone(), Verdict::Damaged)], "{family}, byte {at}");
            assert_eq!(all.outcome(), Outcome::Damaged, "{family}, byte {at}");
        }
        fixture.store.tamper(&key, Some(body));
    }
    let read: u64 = everything(&env).await.reports().map(|report| report.objects_checked).sum();
    assert_eq!(read, sound.reports().map(|report| report.objects_checked).sum::<u64>(), "as it was");
}

/// An operator may take a hold off at any moment.
#[tokio::test]
async fn a_hold_that_is_taken_off_while_it_is_verified_is_no_damage() {
    let (fixture, _) = log_and_base(465).await;
    let held = Hold { name: "case-1".parse().unwrap(), from: Timestamp::MIN, to: Timestamp::MAX };
    hold::add(&fixture.env, &main_source(), fixture.log().await, &held).await.unwrap();
    let key = layout::hold(&main_source(), &held.name);
    for gone in [true, false] {
        let (store, taken_off) = (Arc::clone(&fixture.store), key.clone());
        // Said to be missing, as it is then where it is really gone.
        let env = fixture.fated(move |asked| {
            let missing = asked.is(Op::Get, taken_off.as_str());
            if missing && gone {
                store.tamper(&taken_off, None);
            }
            Fate::Fails(StoreErrorKind::Missing).when(missing)
        });
        let verified = source(&env, &main_source(), FULL, None, &mut ()).await;
        let expected = if gone { vec![] } else { vec![(key.clone(), Verdict::Missing)] };
        assert_eq!(told(&verified), expected, "gone: {gone}");
        hold::add(&fixture.env, &main_source(), fixture.log().await, &held).await.unwrap();
    }
}
