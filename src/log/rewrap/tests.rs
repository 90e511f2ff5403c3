//! A rewrapped data key opens what the old key sealed, and a forged rewrap opens nothing.

use std::sync::Arc;

use super::*;
use crate::crypto::Keyring;
use crate::crypto::file::FileKey;
use crate::entropy::SeededEntropy;
use crate::log::fixture::{Fixture, main_source};
use crate::log::scrub::{self, Depth, Order, Outcome, ScrubReport, Verdict, scrub};
use crate::log::wrapped;
use crate::model::Slot;
use crate::store::{Asked, Fate, Fated, MemoryStore, Op, PutNew, Store};

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
    for stretch in wrapped::stretches(env, &main_source()).await.unwrap().stretches {
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
    let Some(layout::Named::Rewrap { wraps, later }) = layout::parse(&name) else { panic!("{name}") };
    let wide = |half: [u8; 16]| [half, [0; 16]].concat().try_into().unwrap();
    let moved_wraps = layout::rewrap(&[7; 32], &wide(later));
    let moved_later = layout::rewrap(&wide(wraps), &[7; 32]);
    let no_name: ObjectKey = "keys/readme".parse().unwrap();
    #[rustfmt::skip]
    let cases = [
        // where             what      verdict            why
        (&name,              &theirs,  Verdict::Damaged,  "another log's, for the right keys"),
        (&name,              &segment, Verdict::Damaged,  "no rewrap at all"),
        (&moved_wraps,       &good,    Verdict::Damaged,  "as if it followed other wraps"),
        (&moved_later,  &good,    Verdict::Damaged,  "as if it were for others"),
        (&no_name,           &good,    Verdict::Foreign,  "a name that is none of ours"),
    ];
    for (at, body, verdict, why) in cases {
        let env = with(&both, at, Some(body.clone())).await;
        let report = verified(&env, Depth::Full).await;
        let found: Vec<_> = report.findings.iter().map(|finding| (&finding.object, finding.verdict)).collect();
        assert_eq!(found, [(at, verdict)], "{why}: {:?}", report.findings);
    }
}

async fn rewraps(env: &LogEnv) -> Vec<ObjectKey> {
    env.store.list("keys/", None).await.unwrap()
}

/// An operator lets the old key go on the word "already", so a name that is there must not be enough for it.
#[tokio::test]
async fn l4_a_rewrap_that_rotted_or_was_planted_under_its_name_is_made_again() {
    let (fixture, both) = a_log_and_a_new_key().await;
    // A reader with an empty memory.
    let new_alone = || LogEnv { keys: ring(&[2]), ..both.clone() };
    assert_eq!(rewrap_all(&both).await, [Rewrapped::Now]);
    let name = rewraps(&both).await.remove(0);
    let good = both.store.get(&name, Part::Whole).await.unwrap().bytes();
    let mut rotten = good.to_vec();
    let middle = rotten.len() / 2;
    rotten[middle] ^= 4;
    #[rustfmt::skip]
    let damages = [
        (rotten.into(),                              "a bit that rotted"),
        (good.slice(..good.len() - 1),               "cut"),
        (bytes::Bytes::from_static(b"no object"),    "anything at all"),
        (fixture.object(2).await,                    "an object of the log"),
    ];
    for (bytes, why) in damages {
        fixture.store.tamper(&name, Some(bytes));
        assert!(second(&new_alone()).await.is_err(), "{why}: this test has made no damage");
        assert_eq!(rewrap_all(&both).await, [Rewrapped::Now], "{why}");
        second(&new_alone()).await.unwrap().footer().unwrap();
        assert_eq!(rewrap_all(&both).await, [Rewrapped::Already], "{why}: once is enough");
        for key in rewraps(&both).await {
            fixture.store.tamper(&key, None);
        }
    }
}

/// Makes what a role can that may use our key and put objects: a sound rewrap for `old`, of a data key of its own.
async fn plant(env: &LogEnv, old: &Header, data: &DataKey, name: u8) {
    let context = KeyContext { stream: old.stream, epoch: old.epoch };
    let id = wraps_id(&old.wraps, old.stream);
    let wraps = env.keys.wrap_again(data, &context, &*env.entropy).await.unwrap();
    let mut seal = Seal::over(env, context, data.clone(), wraps);
    let sealed = seal.seal(&draft(ObjectKind::Rewrap), &[], |_| id.to_vec()).unwrap();
    let put = env.store.put_new(&layout::rewrap(&id, &[name; 32]), sealed).await.unwrap();
    assert_eq!(put, PutNew::Created);
}

#[tokio::test]
async fn l4_a_sound_rewrap_of_another_data_key_hides_the_genuine_one_nowhere() {
    let (_fixture, both) = a_log_and_a_new_key().await;
    let old = second(&both).await.unwrap().header;
    let foreign = DataKey::fresh(&SeededEntropy::new(9));
    rewrap_all(&both).await;
    for name in 0..40 {
        plant(&both, &old, &foreign, name).await;
    }
    let genuine = rewraps(&both).await.pop().unwrap();
    assert!(genuine.as_str() > layout::rewrap(&wraps_id(&old.wraps, old.stream), &[39; 32]).as_str(), "it sorts last");
    let new_alone = LogEnv { keys: ring(&[2]), ..both.clone() };
    second(&new_alone).await.unwrap().footer().unwrap();
    assert_eq!(rewrap_all(&both).await, [Rewrapped::Already]);
}

/// A planted object with the wraps of a genuine one makes a reader learn the forger's data key for these wraps.
#[tokio::test]
async fn l4_a_data_key_that_was_learned_from_a_forged_object_closes_no_genuine_one() {
    let (_fixture, both) = a_log_and_a_new_key().await;
    let old = second(&both).await.unwrap().header;
    let foreign = DataKey::fresh(&SeededEntropy::new(9));
    rewrap_all(&both).await;
    plant(&both, &old, &foreign, 0).await;
    let new_alone = LogEnv { keys: ring(&[2]), ..both.clone() };
    let context = KeyContext { stream: old.stream, epoch: old.epoch };
    let mut forger = Seal::over(&both, context, foreign, old.wraps.clone());
    let planted = forger.seal(&draft(ObjectKind::Data), &[], |_| Vec::new()).unwrap();
    let name = layout::segment(&main_source(), Slot::new(9));
    Object::open(&new_alone, &name, planted.bytes()).await.expect("the forger's key is its key");
    second(&new_alone).await.unwrap().footer().unwrap();
}

/// The same log in a store whose calls meet these fates.
fn fated(env: &LogEnv, fates: impl FnMut(&Asked<'_>) -> Fate + Send + 'static) -> LogEnv {
    LogEnv { store: Fated::over(&env.store, fates), ..env.clone() }
}

#[tokio::test]
async fn l11_a_rewrap_that_does_not_read_back_is_not_told_as_done() {
    let (_fixture, both) = a_log_and_a_new_key().await;
    let header = second(&both).await.unwrap().header;
    let rotten = |body: Bytes| -> Bytes {
        let mut bytes = body.to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        bytes.into()
    };
    let rotting = fated(&both, move |asked| Fate::reads(rotten).when(asked.is(Op::Get, "keys/")));
    let error = wrap_again(&rotting, &header).await.unwrap_err();
    assert!(matches!(error, LogError::Object(_)), "{error:?}");
}

/// Told as another key's, an object that only could not be looked for makes `verify` find damage (exit 4, not 7).
#[tokio::test]
async fn l11_later_wraps_that_could_not_be_looked_for_are_not_told_as_another_key() {
    let (mut fixture, both) = a_log_and_a_new_key().await;
    fixture.env.keys = Arc::clone(&both.keys);
    fixture.writer().await;
    assert_eq!(rewrap_all(&both).await, [Rewrapped::Now, Rewrapped::Already], "the second reign is the new key's");
    for does_not in [Op::List, Op::Get] {
        let away =
            fated(&both, move |asked| Fate::Fails(StoreErrorKind::Unavailable).when(asked.is(does_not, "keys/")));
        let new_alone = LogEnv { keys: ring(&[2]), ..away };
        let error = second(&new_alone).await.unwrap_err();
        assert!(matches!(error.kind, ObjectErrorKind::LaterWraps(_)), "{error:?}");
        assert!(LogError::from(error).is_store_trouble());
        let report = scrub(&new_alone, &main_source(), Order::all(Depth::Full), &mut ()).await;
        assert_eq!(report.outcome(), Outcome::CouldNotTell, "{:?}", report.findings);
    }
    let stranger = LogEnv { keys: ring(&[3]), ..both };
    let error = second(&stranger).await.unwrap_err();
    assert!(matches!(error.kind, ObjectErrorKind::Key(KeyError::OtherKey { .. })), "what was looked for: {error:?}");
}

/// Whoever may wrap for our keys (the recovery key's public half is no secret) can seal a rewrap of a data key of his own.
#[tokio::test]
async fn l4_a_rewrap_that_carries_another_data_key_is_found_though_its_seal_is_sound() {
    let (fixture, both) = a_log_and_a_new_key().await;
    rewrap_all(&both).await;
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
        let name = layout::rewrap(&id, &wraps_id(&wraps, old.stream));
        let mut seal = Seal::over(&fixture.env, context, data, wraps);
        let sealed = seal.seal(&draft(ObjectKind::Rewrap), &[], |_| id.to_vec()).unwrap();
        let env = with(&both, &name, Some(sealed.bytes())).await;
        let env = LogEnv { keys: ring(&[2, 1]), ..env };
        let found: Vec<_> = verified(&env, Depth::Full).await.findings.iter().map(|finding| finding.verdict).collect();
        assert_eq!(found, Vec::from_iter(verdict));
    }
}
