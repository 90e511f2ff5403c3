//! Row S16: what another actor deletes or puts over our objects is told by name, and what was put first is read (L4).

use holdfast::crypto::Sealed;
use holdfast::crypto::stream::sha256;
use holdfast::daemon::verify::{self, Order};
use holdfast::log::boundary;
use holdfast::log::hold::{self, Hold};
use holdfast::log::object::Seal;
use holdfast::log::scrub::{self, Depth, Finding, Outcome, Verdict};
use holdfast::log::{History, LogEnv};
use holdfast::model::{ObjectKey, Slot, SourceName, Timestamp};
use holdfast::store::oldest::How;
use holdfast::store::{Keys, Oldest, Part, PutNew, Store, layout};

use crate::bed::{BUCKET, Bed, body, key};
use crate::s3::plan::{Fault, On};
use crate::s3::servers;

const FULL: Order = Order { depth: Depth::Full, since: None, jobs: 2, bytes_per_second: None };

async fn versioned() -> Bed {
    let bed = Bed::new().await;
    bed.double.keep_versions(BUCKET);
    bed
}

fn segment(source: &SourceName, slot: u64) -> ObjectKey {
    layout::segment(source, Slot::new(slot))
}

/// Deletes an object as somebody with too many rights would, and puts other bytes in its place.
async fn replace(store: &dyn Store, key: &ObjectKey, with: Sealed) {
    store.delete(key).await.unwrap();
    assert_eq!(store.put_new(key, with).await.unwrap(), PutNew::Created, "as on AWS: the condition sees no object");
}

/// What was found, without how it shows.
fn named(findings: &[Finding]) -> Vec<(ObjectKey, Verdict)> {
    findings.iter().map(|finding| (finding.object.clone(), finding.verdict)).collect()
}

async fn full(env: &LogEnv, source: &SourceName) -> (Outcome, Vec<(ObjectKey, Verdict)>) {
    let verified = verify::source(env, source, FULL, None, &mut ()).await;
    (verified.outcome(), named(&verified.log.findings))
}

/// A log of seven, of which the third is hidden and the fifth has the fourth's bytes put over it.
async fn tampered(env: &LogEnv, source: &SourceName) {
    env.store.delete(&segment(source, 3)).await.unwrap();
    let other = env.store.get(&segment(source, 4), Part::Whole).await.unwrap();
    replace(&*env.store, &segment(source, 5), other).await;
}

async fn s16_holds_for(env: &LogEnv, source: &SourceName) {
    assert_eq!(full(env, source).await, (Outcome::Sound, Vec::new()));
    let sound = History::load(env, source).await.unwrap();
    tampered(env, source).await;
    let expected = vec![(segment(source, 3), Verdict::Missing), (segment(source, 5), Verdict::Damaged)];
    assert_eq!(full(env, source).await, (Outcome::Damaged, expected.clone()), "the exact objects, and nothing else");
    let (history, found) = scrub::first_put(env, source).await.unwrap();
    assert_eq!((history.entries, named(&found)), (sound.entries, expected), "a rebuild takes what was put first");
    for finding in found {
        assert!(finding.what.contains("version"), "it says which version to look at: {finding:?}");
    }
}

#[tokio::test]
async fn s16_l4_the_oldest_version_of_each_slot_wins_and_who_put_another_or_hid_it_is_told_of() {
    let bed = versioned().await;
    let (env, source) = bed.log(7).await;
    s16_holds_for(&env, &source).await;
}

#[tokio::test]
async fn s16_l4_the_same_on_a_versioned_bucket_of_a_real_server() {
    let server = servers::seaweed().await;
    let bucket = server.bucket().await;
    server.keep_versions(&bucket).await;
    let (env, source) = Bed::real(&server.endpoint, &bucket).await.log(7).await;
    s16_holds_for(&env, &source).await;
}

#[tokio::test]
async fn a_bucket_that_keeps_no_versions_is_verified_as_ever() {
    let server = servers::seaweed().await;
    let bucket = server.bucket().await;
    let (env, source) = Bed::real(&server.endpoint, &bucket).await.log(3).await;
    assert_eq!(full(&env, &source).await, (Outcome::Sound, Vec::new()));
    env.store.delete(&segment(&source, 2)).await.unwrap();
    assert_eq!(full(&env, &source).await, (Outcome::Damaged, vec![(segment(&source, 2), Verdict::Missing)]));
}

#[tokio::test]
async fn a_lost_tail_that_is_only_hidden_is_told_though_no_chain_can_show_it() {
    let bed = versioned().await;
    let (env, source) = bed.log(4).await;
    env.store.delete(&segment(&source, 4)).await.unwrap();
    assert_eq!(full(&env, &source).await, (Outcome::Damaged, vec![(segment(&source, 4), Verdict::Missing)]));
}

#[tokio::test]
async fn what_is_put_again_the_same_is_no_damage_and_other_kinds_of_names_may_come_again() {
    let bed = versioned().await;
    let (env, source) = bed.log(3).await;
    let same = env.store.get(&segment(&source, 2), Part::Whole).await.unwrap();
    replace(&*env.store, &segment(&source, 2), same).await;
    let (name, log) = ("case".parse().unwrap(), History::load(&env, &source).await.unwrap().log.unwrap());
    for to in [1, 2] {
        hold::remove(&env, &source, &name).await.unwrap();
        let hold = Hold { name: name.clone(), from: Timestamp::MIN, to: Timestamp::from_micros(to) };
        hold::add(&env, &source, log, &hold).await.unwrap();
    }
    assert_eq!(full(&env, &source).await, (Outcome::Sound, Vec::new()));
    let oldest = Oldest::of(&env.store, "hold/main/").await.unwrap().unwrap();
    let held = hold::list(&LogEnv { store: oldest, ..env.clone() }, &source).await.unwrap();
    assert_eq!(held.iter().map(|hold| hold.to.micros()).collect::<Vec<_>>(), [2], "a hold is what it is now");
}

#[tokio::test]
async fn a_part_of_what_was_replaced_is_read_from_the_version_that_was_put_first() {
    let bed = versioned().await;
    let name = segment(&"main".parse().unwrap(), 1);
    bed.put(name.as_str(), "0123456789").await.unwrap();
    replace(&*bed.store, &name, body("abcdefghijkl")).await;
    for listed in [false, true] {
        let oldest = Oldest::of(&bed.store, "log/main/").await.unwrap().unwrap();
        if listed {
            assert_eq!(oldest.list("log/main/", None).await.unwrap(), std::slice::from_ref(&name));
        }
        #[rustfmt::skip]
        let parts = [
            (Part::Whole,                       &b"0123456789"[..]),
            (Part::Range { at: 2, bytes: 3 },   b"234"),
            (Part::First { bytes: 4 },          b"0123"),
            (Part::Last { bytes: 2 },           b"89"),
            (Part::First { bytes: 20 },         b"0123456789"),
        ];
        for (part, expected) in parts {
            assert_eq!(oldest.get(&name, part).await.unwrap().as_bytes(), expected, "{part:?}");
        }
        assert_eq!(oldest.size(&name).await.unwrap(), 10);
        let odd = oldest.odd().await;
        assert_eq!(odd.len(), 1);
        assert_eq!(odd[0].1.as_ref().unwrap().how, How::Replaced);
    }
    assert_eq!(bed.text(name.as_str()).await, "abcdefghijkl", "whoever reads plainly gets the newest");
}

/// More names than a page holds, one of them with more versions than a page holds.
#[tokio::test]
async fn l8_a_walk_over_many_names_and_many_versions_of_one_gives_every_name_once() {
    let bed = versioned().await;
    let source: SourceName = "main".parse().unwrap();
    for slot in 1..=1500 {
        bed.put(segment(&source, slot).as_str(), "x").await.unwrap();
    }
    for slot in [1000, 1001, 1500] {
        bed.store.delete(&segment(&source, slot)).await.unwrap();
    }
    for _ in 0..1200 {
        bed.bare.delete(&segment(&source, 700)).await.unwrap();
    }
    let oldest = Oldest::of(&bed.store, "log/main/").await.unwrap().unwrap();
    let asked = bed.double.plan.asked(On::Get);
    let mut keys = Keys::new(&*oldest, "log/main/", None);
    for slot in 1..=1500 {
        assert_eq!(keys.next().await.unwrap(), Some(segment(&source, slot)));
        oldest.get(&segment(&source, slot), Part::Whole).await.unwrap();
    }
    assert_eq!(keys.next().await.unwrap(), None);
    assert_eq!(bed.double.plan.asked(On::Get) - asked, 1500, "one request for each object");
    let odd: Vec<_> = oldest.odd().await.into_iter().map(|(key, _)| key).collect();
    assert_eq!(odd, [700, 1000, 1001, 1500].map(|slot| segment(&source, slot)));
}

#[tokio::test]
async fn l11_where_versions_may_not_be_listed_a_verification_in_full_could_not_tell() {
    let bed = versioned().await;
    let (env, source) = bed.log(3).await;
    bed.double.plan.add(On::Versions, Fault::Denied, 99);
    let (outcome, found) = full(&env, &source).await;
    assert!(bed.double.plan.fired(Fault::Denied) > 0);
    assert_eq!(outcome, Outcome::CouldNotTell);
    assert_eq!(found, [(key("log/main"), Verdict::Unreadable)]);
}

#[tokio::test]
async fn what_a_boundary_left_behind_may_be_hidden() {
    let bed = versioned().await;
    let (env, source) = bed.log(6).await;
    let history = History::load(&env, &source).await.unwrap();
    let first = history.entries[3].clone();
    let mut seal = Seal::begin(&env, *history.log.unwrap().as_bytes(), first.epoch).await.unwrap();
    let before = env.store.get(&segment(&source, 3), Part::Whole).await.unwrap();
    let previous = sha256(before.as_bytes());
    let sealed = boundary::seal(&first, previous, &mut seal).unwrap();
    env.store.put_new(&layout::boundary(&source, first.slot), sealed).await.unwrap();
    for slot in 1..=3 {
        env.store.delete(&segment(&source, slot)).await.unwrap();
    }
    assert_eq!(full(&env, &source).await, (Outcome::Sound, Vec::new()));
    let (history, found) = scrub::first_put(&env, &source).await.unwrap();
    assert_eq!((history.entries.len(), found), (3, Vec::new()));
}
