//! What a ring asks a key service for, how often, and what holds while the service is out.

use std::time::Duration;

use super::*;
use crate::clock::{Clock, ManualClock};
use crate::crypto::fixture::FakeService;
use crate::crypto::sealing::SealingKey;
use crate::entropy::SeededEntropy;
use crate::model::Timestamp;
use crate::model::limits::{DATA_KEY_HARD_LIFE, DATA_KEY_SOFT_LIFE};

const LOG: KeyContext = KeyContext { stream: [7; 16], epoch: Epoch::new(3) };

struct World {
    service: Arc<FakeService>,
    ring: Keyring,
    clock: ManualClock,
    entropy: SeededEntropy,
}

impl World {
    fn new() -> Self {
        let service = FakeService::new(1);
        let ring = Keyring::default().with_service(Arc::<FakeService>::clone(&service));
        let clock = ManualClock::new(Timestamp::from_micros(1_000_000));
        Self { service, ring, clock, entropy: SeededEntropy::new(2) }
    }

    async fn begin(&self, context: &KeyContext) -> Result<SealingKey, KeyError> {
        self.ring.begin(context, &self.clock, &self.entropy).await
    }

    /// A process that begins anew, with nothing in its memory.
    fn restarted(&self) -> Keyring {
        Keyring::default().with_service(Arc::<FakeService>::clone(&self.service))
    }
}

#[tokio::test]
async fn a_reader_asks_once_for_each_data_key_and_whoever_made_it_never() {
    let world = World::new();
    let key = world.begin(&LOG).await.unwrap();
    for _ in 0..100 {
        world.ring.open(&key.wraps, &LOG).await.unwrap();
    }
    assert_eq!(world.service.counts(), (1, 0));
    let reader = world.restarted();
    for _ in 0..100 {
        assert_eq!(reader.open(&key.wraps, &LOG).await.unwrap().as_bytes(), key.data.as_bytes());
    }
    assert_eq!(world.service.counts(), (1, 1));
}

#[tokio::test]
async fn l8_a_reader_of_ten_thousand_data_keys_keeps_a_bounded_number_open() {
    let world = World::new();
    for epoch in 1..=3000 {
        let context = KeyContext { epoch: Epoch::new(epoch), ..LOG };
        let (_, wraps) = world.ring.make(&context, &world.entropy).await.unwrap();
        world.ring.open(&wraps, &context).await.unwrap();
        assert!(world.ring.opened_keys().len() <= OPENED_KEYS_MAX);
    }
}

#[tokio::test]
async fn a_wrap_by_a_service_opens_for_its_own_log_alone() {
    let world = World::new();
    let key = world.begin(&LOG).await.unwrap();
    let reader = world.restarted();
    let other = KeyContext { stream: [8; 16], ..LOG };
    let error = reader.open(&key.wraps, &other).await.unwrap_err();
    assert!(error.is_damage() && !error.is_outage(), "{error}");
    for bit in 0..key.wraps[0].bytes.len() * 8 {
        let mut flipped = key.wraps.clone();
        flipped[0].bytes[bit / 8] ^= 1 << (bit % 8);
        let opened = world.restarted().open(&flipped, &LOG).await;
        // The name in a wrap is for people: what keeps it as it was is the hash of the object's header.
        let in_name = (80..80 + 8 * "fake:1".len()).contains(&bit);
        assert!(opened.is_err() || in_name, "bit {bit}");
    }
}

#[tokio::test]
async fn m1_while_the_service_is_out_a_new_reign_begins_under_the_key_at_hand_until_its_hard_life_ends() {
    for trouble in Trouble::ALL.into_iter().filter(|trouble| trouble.is_outage()) {
        let world = World::new();
        let first = world.begin(&LOG).await.unwrap();
        world.service.set(Some(trouble));
        let next = KeyContext { epoch: Epoch::new(4), ..LOG };
        let again = world.begin(&next).await.expect("sealing goes on");
        assert_eq!(again.data.as_bytes(), first.data.as_bytes());
        let reader = world.restarted();
        world.service.set(None);
        reader.open(&again.wraps, &next).await.expect("what the later reign sealed opens too");
        world.service.set(Some(trouble));
        world.clock.advance(DATA_KEY_SOFT_LIFE);
        assert!(world.ring.is_stale(&again, &world.clock) && !again.is_expired(&world.clock));
        world.begin(&next).await.expect("still within the hard life");
        world.clock.advance(DATA_KEY_HARD_LIFE.saturating_sub(DATA_KEY_SOFT_LIFE));
        assert!(again.is_expired(&world.clock));
        assert!(world.begin(&next).await.unwrap_err().is_outage());
        assert!(world.begin(&KeyContext { stream: [9; 16], ..LOG }).await.is_err(), "another log has no key at hand");
    }
}

#[tokio::test]
async fn m2_l11_a_key_that_somebody_took_away_begins_nothing_whatever_is_at_hand() {
    for trouble in Trouble::ALL.into_iter().filter(|trouble| !trouble.is_outage()) {
        let world = World::new();
        world.begin(&LOG).await.unwrap();
        world.service.set(Some(trouble));
        let error = world.begin(&LOG).await.unwrap_err();
        let KeyError::Service(told) = &error else { panic!("{error:?}") };
        assert_eq!(told.trouble, trouble);
        assert_eq!(world.ring.health().trouble.unwrap().error.trouble, trouble, "and everyone is told");
    }
}

#[tokio::test]
async fn m3_a_process_that_starts_while_the_service_is_out_does_not() {
    let world = World::new();
    let key = world.begin(&LOG).await.unwrap();
    world.service.set(Some(Trouble::Unavailable));
    let restarted = world.restarted();
    assert!(restarted.prove(&world.clock, &world.entropy).await.unwrap_err().is_outage());
    assert!(restarted.begin(&LOG, &world.clock, &world.entropy).await.is_err());
    assert!(restarted.open(&key.wraps, &LOG).await.unwrap_err().is_outage(), "nor does it read");
}

#[tokio::test]
async fn trouble_is_told_since_it_began_and_forgotten_when_it_ends() {
    let world = World::new();
    world.begin(&LOG).await.unwrap();
    let healthy = world.ring.health();
    assert_eq!((healthy.trouble, healthy.seals_until), (None, Some(world.clock.tick().after(DATA_KEY_HARD_LIFE))));
    world.service.set(Some(Trouble::PendingDeletion));
    let began = world.clock.tick();
    for _ in 0..3 {
        world.ring.look(&world.clock).await;
        world.clock.advance(Duration::from_mins(1));
    }
    assert_eq!(world.ring.health().trouble.unwrap().since, began);
    world.service.set(None);
    world.ring.look(&world.clock).await;
    assert_eq!(world.ring.health().trouble, None);
    world.service.deny("DescribeKey");
    world.ring.look(&world.clock).await;
    assert_eq!(world.ring.health().trouble, None, "a role that may not ask knows nothing, which is no trouble");
}

#[tokio::test]
async fn a_wish_for_new_data_keys_makes_the_ones_at_hand_stale() {
    let world = World::new();
    let key = world.begin(&LOG).await.unwrap();
    assert!(!world.ring.is_stale(&key, &world.clock));
    world.ring.rotate();
    assert!(world.ring.is_stale(&key, &world.clock));
    let next = world.begin(&LOG).await.unwrap();
    assert!(!world.ring.is_stale(&next, &world.clock) && next.wraps != key.wraps);
}

#[tokio::test]
async fn where_a_service_and_a_recovery_key_are_named_every_data_key_is_wrapped_for_both() {
    let mut world = World::new();
    let identity = RecoveryIdentity::fresh(&world.entropy);
    world.ring.recovery = Some(identity.public());
    let key = world.begin(&LOG).await.unwrap();
    let kinds: Vec<_> = key.wraps.iter().map(|wrap| wrap.recipient).collect();
    assert_eq!(kinds, [Recipient::Service, Recipient::Recovery]);
    let offline = Keyring::of_key_file(KeyFile { keys: Vec::new(), identities: vec![identity] });
    // A data key that began in reign 3 may serve reign 4.
    let later = KeyContext { epoch: Epoch::new(4), ..LOG };
    for context in [LOG, later] {
        assert_eq!(offline.open(&key.wraps, &context).await.unwrap().as_bytes(), key.data.as_bytes());
    }
}

/// Left out in silence, the second recipient would be missed when all else is gone.
#[tokio::test]
async fn l11_a_data_key_that_cannot_be_wrapped_for_the_recovery_key_is_not_made() {
    let (entropy, nobody) = (SeededEntropy::new(4), RecoveryKey::nobodys());
    let mut world = World::new();
    world.ring.recovery = Some(nobody);
    assert_eq!(world.begin(&LOG).await.unwrap_err(), KeyError::RecoveryUnusable);
    let data = DataKey::fresh(&entropy);
    assert_eq!(world.ring.wrap_again(&data, &LOG, &entropy).await.unwrap_err(), KeyError::RecoveryUnusable);
    let ring = Keyring::of_file(FileKey::fresh(&entropy)).with_recovery(Some(nobody));
    assert_eq!(ring.begin(&LOG, &world.clock, &entropy).await.unwrap_err(), KeyError::RecoveryUnusable);
}

/// The format of a wrap by a key service, frozen: `epoch u64 | name_bytes u16 | name | wrapped key`.
#[test]
fn a_wrap_by_a_service_is_written_as_it_was_in_version_1() {
    let wrapped = ServiceWrap { key: "arn:key".to_owned(), bytes: vec![0xAA, 0xBB] };
    let wrap = service_wrap(&wrapped, &LOG);
    assert_eq!(hex::encode(&wrap.bytes), "0300000000000000070061726e3a6b6579aabb");
    let read = split_service_wrap(&wrap.bytes).unwrap();
    assert_eq!(read, (LOG.epoch, "arn:key", &[0xAA, 0xBB][..]));
    assert_eq!(recipient_name(&wrap), "kms arn:key");
    for cut in 0..17 {
        assert!(split_service_wrap(&wrap.bytes[..cut]).is_none(), "cut to {cut}");
    }
}
