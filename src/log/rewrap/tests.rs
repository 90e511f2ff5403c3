//! A rewrapped data key opens what the old key sealed, and a forged rewrap opens nothing.

use std::sync::Arc;

use super::*;
use crate::crypto::Keyring;
use crate::crypto::file::FileKey;
use crate::entropy::SeededEntropy;
use crate::log::fixture::{Fixture, main_source};
use crate::log::scrub::{self, Depth, Outcome, ScrubReport, Verdict};
use crate::log::wrapped;
use crate::model::Slot;
use crate::store::{MemoryStore, Store};

fn key(seed: u64) -> FileKey {
    FileKey::fresh(&SeededEntropy::new(seed))
}

fn ring(seeds: &[u64]) -> Arc<Keyring> {
    let keys = seeds.iter().map(|seed| key(*seed)).collect();
    Arc::new(Keyring::of_key_file(crate::crypto::file::KeyFile { keys, ..Default::default() }))
}

/// A log sealed under key 1, and the ring of keys 2 and 1, where 2 wraps.
async fn a_log_and_a_new_key() -> (Fixture, LogEnv) {
    let mut fixture = Fixture::new(30);
    fixture.env.keys = ring(&[1]);
    let mut writer = fixture.writer().await;
    crate::log::fixture::write_segment(&mut writer, &crate::log::fixture::transaction(1)).await;
    let both = LogEnv { keys: ring(&[2, 1]), ..fixture.env.clone() };
    (fixture, both)
}

async fn second(env: &LogEnv) -> Result<Object, ObjectError> {
    let name = layout::segment(&main_source(), Slot::new(2));
    let bytes = env.store.get(&name, Part::Whole).await.unwrap().bytes();
    Object::open(env, &name, bytes).await
}

async fn rewrap_all(env: &LogEnv) -> Vec<Rewrapped> {
    let mut done = Vec::new();
    for stretch in wrapped::stretches(env, &main_source()).await.unwrap() {
        done.push(wrap_again(env, &stretch.header).await.unwrap());
    }
    done
}

#[tokio::test]
async fn after_a_rewrap_the_new_key_alone_opens_and_no_segment_was_written_again() {
    let (fixture, both) = a_log_and_a_new_key().await;
    let before = fixture.object(2).await;
    let new_alone = LogEnv { keys: ring(&[2]), ..both.clone() };
    assert!(second(&new_alone).await.is_err(), "not yet");
    assert_eq!(rewrap_all(&both).await, [Rewrapped::Now]);
    second(&new_alone).await.unwrap().footer().unwrap();
    second(&fixture.env).await.unwrap().footer().expect("the old key opens for ever: its wraps stand in the headers");
    assert_eq!(fixture.object(2).await, before);
    assert_eq!(rewrap_all(&both).await, [Rewrapped::Already], "once is enough");
    assert!(second(&LogEnv { keys: ring(&[3]), ..both }).await.is_err(), "a stranger opens nothing");
}

/// Whoever can write to the store can put an object there, and cannot make it open.
#[tokio::test]
async fn l4_a_rewrap_that_was_forged_moved_or_changed_opens_nothing() {
    let (_fixture, both) = a_log_and_a_new_key().await;
    let new_alone = LogEnv { keys: ring(&[2]), ..both.clone() };
    rewrap_all(&both).await;
    let name = Keys::new(&*both.store, "keys/".to_owned(), None).next().await.unwrap().unwrap();
    let good = both.store.get(&name, Part::Whole).await.unwrap().bytes();
    for bit in 0..good.len() * 8 {
        let mut flipped = good.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let store = Arc::new(MemoryStore::new());
        let segment = layout::segment(&main_source(), Slot::new(2));
        let sealed = both.store.get(&segment, Part::Whole).await.unwrap();
        store.put_new(&segment, sealed).await.unwrap();
        store.put_new(&name, crate::crypto::Sealed::stored(flipped.into())).await.unwrap();
        let env = LogEnv { store, ..new_alone.clone() };
        assert!(second(&env).await.is_err(), "bit {bit}");
    }
    // Another log's rewrap, sealed for the right key, under the name where ours should stand.
    let (_other, other_both) = {
        let mut other = Fixture::new(31);
        other.env.keys = ring(&[1]);
        other.writer().await;
        let both = LogEnv { keys: ring(&[2, 1]), ..other.env.clone() };
        (other, both)
    };
    rewrap_all(&other_both).await;
    let theirs = Keys::new(&*other_both.store, "keys/".to_owned(), None).next().await.unwrap().unwrap();
    let theirs = other_both.store.get(&theirs, Part::Whole).await.unwrap();
    let store = Arc::new(MemoryStore::new());
    let segment = layout::segment(&main_source(), Slot::new(2));
    store.put_new(&segment, both.store.get(&segment, Part::Whole).await.unwrap()).await.unwrap();
    store.put_new(&name, theirs).await.unwrap();
    assert!(second(&LogEnv { store, ..new_alone }).await.is_err());
}

async fn verified(env: &LogEnv, depth: Depth) -> ScrubReport {
    scrub::rewraps(env, &[main_source()], depth, &mut ()).await
}

/// The store of `from` with something else, or nothing, under one name.
async fn with(from: &LogEnv, name: &ObjectKey, body: Option<bytes::Bytes>) -> LogEnv {
    let store = Arc::new(MemoryStore::new());
    let mut keys = Keys::new(&*from.store, String::new(), None);
    while let Some(key) = keys.next().await.unwrap() {
        store.put_new(&key, from.store.get(&key, Part::Whole).await.unwrap()).await.unwrap();
    }
    store.tamper(name, body);
    LogEnv { store, ..from.clone() }
}

#[tokio::test]
async fn a_sound_rewrap_is_proved_by_whichever_key_is_at_hand() {
    let (_fixture, both) = a_log_and_a_new_key().await;
    assert_eq!(verified(&both, Depth::Full).await, ScrubReport::default(), "nothing was wrapped again yet");
    rewrap_all(&both).await;
    for (keys, why) in [(ring(&[2, 1]), "both"), (ring(&[2]), "the new one"), (ring(&[1]), "the old one")] {
        let env = LogEnv { keys, ..both.clone() };
        for depth in [Depth::Quick, Depth::Full] {
            let report = verified(&env, depth).await;
            assert_eq!((report.objects_checked, report.findings), (1, vec![]), "{why}, {depth:?}");
        }
    }
    let stranger = LogEnv { keys: ring(&[3]), ..both };
    assert_eq!(
        verified(&stranger, Depth::Full).await.outcome(),
        Outcome::CouldNotTell,
        "and a stranger can tell nothing"
    );
}

#[tokio::test]
async fn l4_each_changed_bit_of_a_rewrap_is_damage_of_that_object_whichever_key_is_at_hand() {
    let (_fixture, both) = a_log_and_a_new_key().await;
    rewrap_all(&both).await;
    let name = Keys::new(&*both.store, "keys/".to_owned(), None).next().await.unwrap().unwrap();
    let good = both.store.get(&name, Part::Whole).await.unwrap().bytes();
    for bit in 0..good.len() * 8 {
        let mut flipped = good.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let env = with(&both, &name, Some(flipped.into())).await;
        for keys in [ring(&[2, 1]), ring(&[1])] {
            let env = LogEnv { keys, ..env.clone() };
            let report = verified(&env, Depth::Full).await;
            assert_eq!(report.outcome(), Outcome::Damaged, "bit {bit}");
            assert!(report.findings.iter().all(|finding| finding.object == name), "bit {bit}");
        }
    }
}

#[tokio::test]
async fn l4_a_rewrap_under_another_name_or_of_another_log_is_found() {
    let (_fixture, both) = a_log_and_a_new_key().await;
    rewrap_all(&both).await;
    let name = Keys::new(&*both.store, "keys/".to_owned(), None).next().await.unwrap().unwrap();
    let good = both.store.get(&name, Part::Whole).await.unwrap().bytes();
    let mut other = Fixture::new(33);
    other.env.keys = ring(&[1]);
    other.writer().await;
    let other_both = LogEnv { keys: ring(&[2, 1]), ..other.env.clone() };
    rewrap_all(&other_both).await;
    let theirs = Keys::new(&*other_both.store, "keys/".to_owned(), None).next().await.unwrap().unwrap();
    let theirs = other_both.store.get(&theirs, Part::Whole).await.unwrap().bytes();
    let segment = other.object(1).await;
    let Some(layout::Named::Rewrap { wraps, recipients }) = layout::parse(&name) else { panic!("{name}") };
    let wide = |half: [u8; 16]| [half, [0; 16]].concat().try_into().unwrap();
    let moved_wraps = layout::rewrap(&[7; 32], &wide(recipients));
    let moved_recipients = layout::rewrap(&wide(wraps), &[7; 32]);
    let no_name: ObjectKey = "keys/readme".parse().unwrap();
    #[rustfmt::skip]
    let cases = [
        // where             what      verdict            why
        (&name,              &theirs,  Verdict::Damaged,  "another log's, for the right keys"),
        (&name,              &segment, Verdict::Damaged,  "no rewrap at all"),
        (&moved_wraps,       &good,    Verdict::Damaged,  "as if it followed other wraps"),
        (&moved_recipients,  &good,    Verdict::Damaged,  "as if it were for others"),
        (&no_name,           &good,    Verdict::Foreign,  "a name that is none of ours"),
    ];
    for (at, body, verdict, why) in cases {
        let env = with(&both, at, Some(body.clone())).await;
        let report = verified(&env, Depth::Full).await;
        let found: Vec<_> = report.findings.iter().map(|finding| (&finding.object, finding.verdict)).collect();
        assert_eq!(found, [(at, verdict)], "{why}: {:?}", report.findings);
    }
}

/// Whoever may wrap for our keys (the recovery key's public half is no secret) can seal a rewrap of a data key of his own.
#[tokio::test]
async fn l4_a_rewrap_that_carries_another_data_key_is_found_though_its_seal_is_sound() {
    let (fixture, both) = a_log_and_a_new_key().await;
    rewrap_all(&both).await;
    let name = Keys::new(&*both.store, "keys/".to_owned(), None).next().await.unwrap().unwrap();
    let segment = layout::segment(&main_source(), Slot::new(2));
    let old = both.store.get(&segment, Part::Whole).await.unwrap();
    let (old, _) = Header::decode(old.as_bytes()).unwrap();
    let context = KeyContext { stream: old.stream, epoch: old.epoch };
    for (data, verdict) in [
        (both.keys.open(&old.wraps, &context).await.unwrap(), None),
        (DataKey::from_bytes([9; 32]), Some(Verdict::Damaged)),
    ] {
        let wraps = both.keys.wrap_again(&data, &context, &*both.entropy).await.unwrap();
        let id = wraps_id(&old.wraps, old.stream);
        let mut seal = Seal::over(&fixture.env, context, data, wraps);
        let sealed = seal.seal(&draft(ObjectKind::Rewrap), &[], |_| id.to_vec()).unwrap();
        let env = with(&both, &name, Some(sealed.bytes())).await;
        let env = LogEnv { keys: ring(&[2, 1]), ..env };
        let found: Vec<_> = verified(&env, Depth::Full).await.findings.iter().map(|finding| finding.verdict).collect();
        assert_eq!(found, Vec::from_iter(verdict));
    }
}
