//! A history found by checkpoints is the one found by listing, and what is missing is told from what was never there.

mod losses;

use super::*;
use crate::codec::segment::Header;
use crate::crypto::Keyring;
use crate::crypto::fixture::FakeService;
use crate::log::fixture::{Fixture, main_source, transaction, write_segment};
use crate::log::object::Seal;
use crate::model::limits::CHECKPOINT_EVERY_SLOTS;

async fn load(fixture: &Fixture) -> History {
    History::load(&fixture.env, &main_source()).await.unwrap()
}

fn slots(entries: &[Entry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.slot.get()).collect()
}

fn remove(fixture: &Fixture, slot: u64) {
    fixture.store.tamper(&layout::segment(&main_source(), Slot::new(slot)), None);
}

#[tokio::test]
async fn l4_a_missing_object_is_named_and_a_dying_writers_hole_is_not() {
    let in_flight = IN_FLIGHT_PUTS_MAX as u64;
    #[rustfmt::skip]
    let cases = [
        // last  gone             missing         beyond          why
        (9,      vec![3],         vec![3],        vec![],         "in the middle"),
        (9,      vec![3, 4],      vec![3, 4],     vec![],         "two in the middle"),
        (9,      vec![1],         vec![1],        vec![],         "the very first"),
        (9,      vec![9],         vec![],         vec![],         "the last: only a witness can tell"),
        (9,      vec![7],         vec![],         vec![8, 9],     "in flight when its writer died"),
        (9,      vec![10 - in_flight], vec![],    vec![7, 8, 9],  "as many in flight as there can be"),
        (9,      vec![9 - in_flight], vec![5],    vec![],         "more than can have been in flight"),
    ];
    for (last, gone, missing, beyond, why) in cases {
        let fixture = Fixture::new(31);
        let mut writer = fixture.writer().await;
        for number in 1..last {
            write_segment(&mut writer, &transaction(number)).await;
        }
        for slot in gone {
            remove(&fixture, slot);
        }
        let history = load(&fixture).await;
        let found: Vec<_> = history.missing.iter().map(|slot| slot.get()).collect();
        assert_eq!((found, slots(&history.beyond)), (missing, beyond), "{why}");
    }
}

/// The object before the next fence was lost. A fence of ours in its place would have made void what a later writer
/// had acknowledged.
#[tokio::test]
async fn l4_an_object_lost_in_front_of_a_fence_is_missing_however_near_the_end() {
    let fixture = Fixture::new(32);
    write_segment(&mut fixture.writer().await, &transaction(1)).await;
    write_segment(&mut fixture.writer().await, &transaction(2)).await;
    remove(&fixture, 2);
    let history = load(&fixture).await;
    assert_eq!((slots(&history.entries), history.missing.clone()), (vec![1, 3, 4], vec![Slot::new(2)]));
    assert_eq!(history.hole(), Slot::new(5));
    assert_eq!(history.entries[0].hash, None, "the fence continues the missing object, not the one before it");
}

/// A log that began anew at its boundary would forget where it stood.
#[tokio::test]
async fn l4_what_a_boundary_names_is_missing_if_it_is_not_there() {
    let fixture = Fixture::with_a_log(35).await;
    let (log, first) = (fixture.log().await, fixture.entry(4).await);
    let mut seal = Seal::begin(&fixture.env, *log.as_bytes(), Epoch::new(1)).await.unwrap();
    let sealed = boundary::seal(&first, [0; 32], &mut seal);
    fixture.store.tamper(&layout::boundary(&main_source(), Slot::new(4)), Some(sealed.unwrap().bytes()));
    remove(&fixture, 4);
    let history = load(&fixture).await;
    assert_eq!((history.missing.clone(), slots(&history.entries)), (vec![Slot::new(4)], vec![5, 6, 7]));
    for slot in 5..=7 {
        remove(&fixture, slot);
    }
    let error = History::load(&fixture.env, &main_source()).await.unwrap_err();
    assert!(matches!(error, LogError::Missing { key } if key == layout::segment(&main_source(), Slot::new(4))));
}

/// Slots 2 to 7: two transactions up to 20, one that spans three segments and commits at 30, a heartbeat at 40, a gap.
#[tokio::test]
async fn l4_what_is_lost_with_an_object_ends_where_all_that_it_holds_a_part_of_has_ended() {
    #[rustfmt::skip]
    let cases = [
        // gone     until    place       why
        (2,         0,       20,         "two whole transactions"),
        (3,         20,      30,         "the beginning of one"),
        (4,         20,      30,         "the middle of one"),
        (5,         20,      30,         "its end"),
        (6,         30,      40,         "a heartbeat"),
    ];
    for (gone, until, place, why) in cases {
        let fixture = Fixture::with_a_log(37).await;
        drop(fixture.writer().await); // a fence behind it all: what is missing before it was there
        remove(&fixture, gone);
        let (slot, until, place) = (Slot::new(gone), Position::new(until), Position::new(place));
        assert_eq!(load(&fixture).await.holes(), [Hole { slot, until, place }], "{why}");
    }
}

#[tokio::test]
async fn l7_a_history_found_by_checkpoints_is_the_one_found_by_listing() {
    let fixture = Fixture::new(33);
    let mut writer = fixture.writer().await;
    let many = CHECKPOINT_EVERY_SLOTS * 2 + 20;
    for number in 1..=many {
        write_segment(&mut writer, &transaction(number)).await;
    }
    let by_checkpoints = load(&fixture).await;
    assert_eq!(by_checkpoints.checkpoint, Some(Slot::new(CHECKPOINT_EVERY_SLOTS * 2)));
    let plain = |history: &History| -> Vec<Entry> {
        history.entries.iter().map(|entry| Entry { bytes: 0, hash: None, ..entry.clone() }).collect()
    };
    let newest = layout::checkpoint(&main_source(), Slot::new(CHECKPOINT_EVERY_SLOTS * 2));
    let first = layout::checkpoint(&main_source(), Slot::new(CHECKPOINT_EVERY_SLOTS));
    let body = fixture.env.store.get(&newest, Part::Whole).await.unwrap().bytes();
    // A checkpoint is a cache: one that is damaged or in another's place costs time and nothing else.
    #[rustfmt::skip]
    let damages = [
        (&newest, Some(body.slice(..body.len() - 1)),   Some(CHECKPOINT_EVERY_SLOTS),  "cut"),
        (&first,  Some(body.clone()),                   None,                          "a newer one in an older one's place"),
        (&first,  None,                                 None,                          "gone"),
        (&newest, Some(body.clone()),                   None,                          "whole again, but the one before is gone"),
        (&newest, None,                                 None,                          "all gone"),
    ];
    for (key, bytes, trusted, why) in damages {
        fixture.store.tamper(key, bytes);
        let history = load(&fixture).await;
        assert_eq!((plain(&history), history.checkpoint), (plain(&by_checkpoints), trusted.map(Slot::new)), "{why}");
    }
}

#[tokio::test]
async fn l8_an_object_at_an_absurd_slot_is_foreign_and_not_a_million_missing_ones() {
    let fixture = Fixture::with_a_log(34).await;
    let bytes = fixture.object(2).await;
    let (header, length) = Header::decode(&bytes).unwrap();
    let slot = Slot::new(1 << 60);
    let forged = [&Header { slot, ..header }.encode(), &bytes[length..]].concat();
    fixture.store.tamper(&layout::segment(&main_source(), slot), Some(forged.into()));
    let error = History::load(&fixture.env, &main_source()).await.unwrap_err();
    assert!(matches!(error, LogError::Object(error) if error.key == layout::segment(&main_source(), slot)));
}

/// Whoever kept a list may have kept it while the log was emptied, cut or begun anew: it is believed only as far as the
/// log itself confirms it.
#[tokio::test]
async fn l7_a_history_found_from_known_entries_is_the_one_found_by_listing() {
    let fixture = Fixture::new(35);
    let mut writer = fixture.writer().await;
    for number in 1..=20 {
        write_segment(&mut writer, &transaction(number)).await;
    }
    let plain = |history: &History| -> Vec<Entry> {
        history.entries.iter().map(|entry| Entry { bytes: 0, hash: None, ..entry.clone() }).collect()
    };
    let whole = load(&fixture).await;
    let stranger = load(&Fixture::with_a_log(36).await).await;
    let mut noted = whole.entries.clone();
    noted.last_mut().unwrap().hash = Some(crate::crypto::stream::sha256(&fixture.object(21).await));
    let holed: Vec<_> = whole.entries.iter().filter(|entry| entry.slot != Slot::new(4)).cloned().collect();
    let forged: Vec<_> = whole.entries.iter().map(|entry| Entry { hash: Some([7; 32]), ..entry.clone() }).collect();
    #[rustfmt::skip]
    let cases = [
        // known                           why
        (vec![],                           "nothing known"),
        (whole.entries.clone(),            "everything, the last one without its hash"),
        (noted,                            "everything, as its writer knew it"),
        (whole.entries[..9].to_vec(),      "some of it"),
        (whole.entries[5..9].to_vec(),     "without its beginning"),
        (holed,                            "with a hole"),
        (forged,                           "with hashes that the log does not confirm"),
        (stranger.entries.clone(),         "another log's"),
    ];
    for (known, why) in cases {
        let found = History::load_from(&fixture.env, &main_source(), known).await.unwrap();
        assert_eq!((plain(&found), found.log), (plain(&whole), whole.log), "{why}");
    }
    // Known entries must not hide a loss that a listing shows.
    let lost = layout::segment(&main_source(), Slot::new(7));
    let body = fixture.object(7).await;
    remove(&fixture, 7);
    let found = History::load_from(&fixture.env, &main_source(), whole.entries.clone()).await.unwrap();
    assert_eq!((found.missing.clone(), plain(&found)), (vec![Slot::new(7)], plain(&load(&fixture).await)));
    fixture.store.tamper(&lost, Some(body));
    // The newest objects are lost: what was known of them is not believed.
    (18..=21).for_each(|slot| remove(&fixture, slot));
    let cut = load(&fixture).await;
    let found = History::load_from(&fixture.env, &main_source(), whole.entries).await.unwrap();
    assert_eq!(slots(&found.entries), slots(&cut.entries), "ahead of the store");
}

/// A log of more slots than a checkpoint lists, sealed by a key service; and the surroundings of a writer that may ask for
/// data keys and open none.
async fn a_log_that_its_writer_may_not_open() -> (Fixture, LogEnv, std::sync::Arc<FakeService>) {
    let mut fixture = Fixture::new(40);
    let service = FakeService::new(41);
    let ring = || std::sync::Arc::new(Keyring::default().with_service(std::sync::Arc::<FakeService>::clone(&service)));
    fixture.env.keys = ring();
    let mut writer = fixture.writer().await;
    for number in 1..CHECKPOINT_EVERY_SLOTS + 5 {
        write_segment(&mut writer, &transaction(number)).await;
    }
    let blind = LogEnv { keys: ring(), ..fixture.env.clone() };
    (fixture, blind, service)
}

#[tokio::test]
async fn l5_a_writer_that_may_open_nothing_takes_its_log_by_clear_headers_and_goes_on_where_it_ends() {
    let (fixture, blind, service) = a_log_that_its_writer_may_not_open().await;
    let seeing = History::load(&fixture.env, &main_source()).await.unwrap();
    let checkpoint = seeing.checkpoint.expect("the log is long enough for one");
    service.deny("Decrypt");
    let found = History::load(&blind, &main_source()).await.unwrap();
    assert!(found.blind && found.checkpoint == Some(checkpoint));
    assert!(found.entries.len() < 16, "only the end was read: {}", found.entries.len());
    assert_eq!((found.last(), found.hole(), found.log), (seeing.last(), seeing.hole(), seeing.log));
    let reign = crate::log::fence::take(&blind, &main_source(), None).await.unwrap();
    assert_eq!((reign.epoch, reign.cursor.to), (seeing.epoch().next(), seeing.last().unwrap().to));
    let rule = crate::log::fixture::RULE;
    let mut writer =
        crate::log::Writer::new(&blind, &main_source(), reign, rule, Box::new(crate::log::context::NoContext));
    for number in 1000..1000 + CHECKPOINT_EVERY_SLOTS {
        write_segment(&mut writer, &transaction(number)).await;
    }
    assert_eq!(service.counts().1, 0, "nothing was opened");
    // Whoever may open finds one unbroken chain, the blind writer's checkpoint in it.
    let whole = History::load(&fixture.env, &main_source()).await.unwrap();
    assert!(whole.checkpoint > Some(checkpoint) && whole.missing.is_empty());
}

#[tokio::test]
async fn l4_a_blind_writer_believes_no_checkpoint_that_the_log_does_not_confirm() {
    let (fixture, blind, service) = a_log_that_its_writer_may_not_open().await;
    let last = History::load(&fixture.env, &main_source()).await.unwrap().last().unwrap().clone();
    let mut seal = Seal::begin(&fixture.env, *fixture.log().await.as_bytes(), Epoch::new(1)).await.unwrap();
    let lie = Entry { hash: Some([9; 32]), ..last.clone() };
    let forged = crate::log::checkpoint::Checkpoint { previous: Slot::NONE, entries: vec![lie] };
    let name = layout::checkpoint(&main_source(), last.slot);
    fixture.env.store.put_new(&name, forged.seal(&mut seal).unwrap()).await.unwrap();
    service.deny("Decrypt");
    let found = History::load(&blind, &main_source()).await.unwrap();
    assert!(found.checkpoint.is_some_and(|slot| slot < last.slot), "the older one served");
    assert_eq!(found.last(), Some(&last));
}

/// A list from before the newest checkpoint says less than the checkpoint does, and what is missing in between is as
/// unseen as it is without a list.
#[tokio::test]
async fn l7_entries_that_end_before_the_newest_checkpoint_give_way_to_it() {
    let fixture = Fixture::new(37);
    let mut writer = fixture.writer().await;
    for number in 1..=CHECKPOINT_EVERY_SLOTS + 20 {
        write_segment(&mut writer, &transaction(number)).await;
    }
    let known = load(&fixture).await.entries;
    let newest = usize::try_from(CHECKPOINT_EVERY_SLOTS).unwrap();
    remove(&fixture, 100);
    remove(&fixture, CHECKPOINT_EVERY_SLOTS + 9);
    let listed = load(&fixture).await;
    assert_eq!(listed.missing, [Slot::new(CHECKPOINT_EVERY_SLOTS + 9)]);
    for length in [newest - 30, newest, newest + 5, newest + 15] {
        let found = History::load_from(&fixture.env, &main_source(), known[..length].to_vec()).await.unwrap();
        assert_eq!(
            (slots(&found.entries), found.missing),
            (slots(&listed.entries), listed.missing.clone()),
            "{length}"
        );
    }
}
