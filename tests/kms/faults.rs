//! Rows M1 and M2 of the fault matrix, and what a data key costs: a whole log, the real SDK, a clock that is moved by hand.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use holdfast::clock::{Clock, ManualClock, SystemClock, timeout};
use holdfast::codec::segment::Suite;
use holdfast::crypto::keyring::KeyContext;
use holdfast::crypto::service::Trouble;
use holdfast::crypto::{KeyError, Keyring};
use holdfast::entropy::OsEntropy;
use holdfast::log::context::NoContext;
use holdfast::log::{CutRule, History, LogEnv, LogError, Reader, Writer, fence};
use holdfast::model::{Commit, Epoch, Position, Record, Role, SourceName, Timestamp, Xid};
use holdfast::store::{Keys, MemoryStore, Part, Store};

use crate::client;
use crate::double::{Double, Fault, KeyIs};

pub(crate) fn main_source() -> SourceName {
    "main".parse().unwrap()
}

/// A log whose data keys come from the double.
pub(crate) struct World {
    pub(crate) double: Double,
    pub(crate) env: LogEnv,
    pub(crate) clock: Arc<ManualClock>,
}

impl World {
    pub(crate) async fn new() -> Self {
        let double = Double::start().await;
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000)));
        let env = env(&double, Arc::new(MemoryStore::new()), Arc::<ManualClock>::clone(&clock)).await;
        Self { double, env, clock }
    }

    /// The same store in a process that begins anew.
    pub(crate) async fn restarted(&self) -> LogEnv {
        env(&self.double, Arc::clone(&self.env.store), Arc::<ManualClock>::clone(&self.clock)).await
    }

    pub(crate) async fn writer(&self) -> Result<Writer, LogError> {
        writer(&self.env).await
    }
}

pub(crate) async fn env(double: &Double, store: Arc<dyn Store>, clock: Arc<ManualClock>) -> LogEnv {
    let ring = Keyring::default().with_service(client(&double.endpoint, "alias/holdfast").await);
    LogEnv { store, keys: Arc::new(ring), suite: Suite::default(), clock, entropy: Arc::new(OsEntropy) }
}

pub(crate) async fn writer(env: &LogEnv) -> Result<Writer, LogError> {
    let reign = fence::take(env, &main_source(), None).await?;
    let rule = CutRule { segment_bytes: 1 << 20, segment_age: Duration::from_secs(1) };
    Ok(Writer::new(env, &main_source(), reign, rule, Box::new(NoContext)))
}

/// One transaction, made durable in a segment of its own; then a while for whatever the key service has to say.
pub(crate) async fn write(writer: &mut Writer, number: u64) -> Result<(), LogError> {
    write_on(writer, number).await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    match timeout(&*clock, Duration::from_millis(700), writer.next_durable()).await {
        Ok(Err(error)) => Err(error),
        Ok(Ok(_)) | Err(_) => Ok(()),
    }
}

/// As [`write`], without waiting.
pub(crate) async fn write_on(writer: &mut Writer, number: u64) -> Result<(), LogError> {
    let time = Timestamp::from_micros(1_700_000_000_000_000);
    let commit = Commit { position: Position::new(number * 10), time };
    for (role, wire) in [
        (Role::Opens(Xid::new(number)), "begin"),
        (Role::Inside, "a planted word: kumquat"),
        (Role::Commits(commit), "commit"),
    ] {
        writer.append(&Record::wire(role, Bytes::from(wire)))?;
    }
    writer.flush().await.map(drop)
}

/// Waits until the ring knows of trouble: the SDK tries a few times first.
async fn told(world: &World, writer: &mut Writer) -> Trouble {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    for _ in 0..30 {
        if let Some(trouble) = world.env.keys.health().trouble {
            return trouble.error.trouble;
        }
        drop(timeout(&*clock, Duration::from_millis(500), writer.next_durable()).await);
    }
    panic!("nobody was told");
}

async fn every_byte(store: &dyn Store) -> Vec<u8> {
    let mut all = Vec::new();
    let mut keys = Keys::new(store, String::new(), None);
    while let Some(key) = keys.next().await.unwrap() {
        all.extend_from_slice(key.as_str().as_bytes());
        all.extend_from_slice(store.get(&key, Part::Whole).await.unwrap().as_bytes());
    }
    all
}

/// No plain data key, in bytes or in hexadecimal, and no plain row.
fn holds_no_secret(bytes: &[u8], double: &Double) {
    let found = |needle: &[u8]| memchr::memmem::find(bytes, needle).is_some();
    assert!(!double.plain_keys().is_empty() && !bytes.is_empty());
    for key in double.plain_keys() {
        assert!(!found(&key) && !found(hex::encode(&key).as_bytes()), "a plain data key");
    }
    assert!(!found(b"kumquat"), "a row");
}

async fn read_all(env: &LogEnv) -> usize {
    let history = History::load(env, &main_source()).await.unwrap();
    let live: Vec<_> = history.live().cloned().collect();
    let mut reader = Reader::new(env, &main_source(), history.log.unwrap(), live);
    let mut segments = 0;
    while let Some(mut segment) = reader.next().await.unwrap() {
        while segment.next_frame().unwrap().is_some() {}
        segments += 1;
    }
    segments
}

#[tokio::test]
async fn a_data_key_costs_one_call_for_each_epoch_and_day_and_none_for_a_segment() {
    let world = World::new().await;
    let mut writer = world.writer().await.unwrap();
    for number in 1..=20 {
        write_on(&mut writer, number).await.unwrap();
    }
    assert_eq!(world.double.count("GenerateDataKey"), 1);
    world.clock.advance(Duration::from_hours(24));
    write(&mut writer, 21).await.unwrap();
    write(&mut writer, 22).await.unwrap();
    assert_eq!(world.double.count("GenerateDataKey"), 2, "another day");
    world.env.keys.rotate();
    write(&mut writer, 23).await.unwrap();
    write(&mut writer, 24).await.unwrap();
    assert_eq!(world.double.count("GenerateDataKey"), 3, "somebody wished for one");
    drop(writer);
    world.writer().await.unwrap();
    assert_eq!(world.double.count("GenerateDataKey"), 4, "another reign");
    assert_eq!(world.double.count("Decrypt"), 0, "whoever made a key knows it");
    let reader = world.restarted().await;
    assert_eq!(read_all(&reader).await, 26);
    assert_eq!(world.double.count("Decrypt"), 4, "one for each data key");
    holds_no_secret(&every_byte(&*world.env.store).await, &world.double);
}

#[tokio::test]
async fn m1_l6_sealing_goes_on_through_an_outage_and_ends_with_the_hard_life() {
    for fault in [Fault::Internal, Fault::Throttle] {
        let world = World::new().await;
        let mut writer = world.writer().await.unwrap();
        write_on(&mut writer, 1).await.unwrap();
        world.double.fail(Some(fault));
        for (number, hours) in [(2, 1), (3, 25), (4, 20)] {
            world.clock.advance(Duration::from_hours(hours));
            write(&mut writer, number).await.unwrap_or_else(|error| panic!("{fault:?}, {hours} h: {error:?}"));
        }
        assert!(world.double.fired() > 0, "the fault never struck");
        let expected = if fault == Fault::Throttle { Trouble::Throttled } else { Trouble::Unavailable };
        assert_eq!(told(&world, &mut writer).await, expected, "everyone can see it");
        assert_eq!(world.env.keys.health().seals_until.unwrap().since(world.clock.tick()), Duration::from_hours(26));
        // The source broke off: a new reign begins under the key at hand.
        drop(writer);
        let mut writer = world.writer().await.unwrap();
        write_on(&mut writer, 5).await.unwrap();
        world.clock.advance(Duration::from_hours(26));
        let error = write_on(&mut writer, 6).await.unwrap_err();
        assert!(matches!(error, LogError::Key(KeyError::Expired)), "{error:?}");
        world.double.fail(None);
        let mut writer = world.writer().await.unwrap();
        write_on(&mut writer, 6).await.unwrap();
        assert_eq!(read_all(&world.restarted().await).await, 9, "six segments and three fences");
        holds_no_secret(&every_byte(&*world.env.store).await, &world.double);
    }
}

#[tokio::test]
async fn m1_a_service_that_never_answers_holds_nobody_longer_than_a_call_may_last() {
    let world = World::new().await;
    world.double.fail(Some(Fault::Silent(Duration::from_mins(1))));
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let proving = world.env.keys.prove(&*clock, &OsEntropy);
    let error = timeout(&*clock, Duration::from_secs(25), proving).await.expect("it ends by itself").unwrap_err();
    assert!(error.is_outage(), "{error}");
    assert!(world.double.fired() > 0, "the fault never struck");
}

#[tokio::test]
async fn m2_l11_a_key_that_was_taken_away_stops_the_writer_at_its_next_data_key_and_says_why() {
    let cases = [
        (Some(KeyIs::Disabled), Trouble::Disabled),
        (Some(KeyIs::PendingDeletion), Trouble::PendingDeletion),
        (None, Trouble::Denied),
    ];
    for (is, trouble) in cases {
        let world = World::new().await;
        let mut writer = world.writer().await.unwrap();
        write_on(&mut writer, 1).await.unwrap();
        match is {
            Some(is) => world.double.set(&world.double.key(), is),
            None => world.double.deny("GenerateDataKey"),
        }
        write_on(&mut writer, 2).await.expect("until the day changes nobody asks");
        world.env.keys.look(&*world.env.clock).await;
        assert_eq!(world.env.keys.health().trouble.is_some(), is.is_some(), "told of long before: {trouble:?}");
        world.clock.advance(Duration::from_hours(24));
        let mut ended = Ok(());
        for number in 3..6 {
            ended = write(&mut writer, number).await;
            if ended.is_err() {
                break;
            }
        }
        let LogError::Key(KeyError::Service(error)) = ended.unwrap_err() else { panic!("{trouble:?}") };
        assert_eq!(error.trouble, trouble);
        assert!(error.to_string().contains("alias/holdfast"), "{error}");
        assert!(matches!(world.writer().await, Err(LogError::Key(_))), "no new reign under a key that was taken away");
    }
}

#[tokio::test]
async fn m2_where_the_alias_points_elsewhere_old_objects_name_the_key_that_they_need() {
    let world = World::new().await;
    let mut writer = world.writer().await.unwrap();
    write_on(&mut writer, 1).await.unwrap();
    let old = world.double.key();
    world.double.point("alias/holdfast", &world.double.make_key());
    let context = KeyContext { stream: *writer.log().as_bytes(), epoch: Epoch::new(1) };
    let reader = world.restarted().await;
    let key = "log/main/0000000000000002.seg".parse().unwrap();
    let bytes = reader.store.get(&key, Part::Whole).await.unwrap();
    let (header, _) = holdfast::codec::segment::Header::decode(bytes.as_bytes()).unwrap();
    let error = reader.keys.open(&header.wraps, &context).await.unwrap_err();
    assert!(matches!(error, KeyError::OtherKey { .. }) && error.to_string().contains(&old), "{error}");
    // Named beside the new one, the old key still opens.
    let both = Keyring::default()
        .with_service(client(&world.double.endpoint, "alias/holdfast").await)
        .with_service(client(&world.double.endpoint, &old).await);
    both.open(&header.wraps, &context).await.unwrap();
}

/// The SDK's own words for such an answer repeat it, data key and all.
#[tokio::test]
async fn l6_an_answer_that_cannot_be_read_is_told_without_what_it_holds() {
    let world = World::new().await;
    world.double.fail(Some(Fault::Cut));
    let kms = client(&world.double.endpoint, "alias/holdfast").await;
    let context = KeyContext { stream: [5; 16], epoch: Epoch::new(2) };
    let error = kms.generate(&context).await.map(drop).unwrap_err();
    assert!(world.double.fired() > 0 && error.trouble.is_outage(), "{error}");
    let told = format!("{error} {error:?}");
    let keys = world.double.plain_keys();
    assert!(!keys.is_empty());
    for key in keys {
        assert!(!told.contains(&aws_smithy_types::base64::encode(key)), "{told}");
    }
    assert!(!told.contains("SdkBody") && !told.contains("Plaintext"), "{told}");
}
