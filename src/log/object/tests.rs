//! L4 for one object: whatever was done to it, it opens as what was sealed or ends in an error that names it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::*;
use crate::log::error::LogError;
use crate::log::fixture::{Fixture, heartbeat, main_source, spanning, transaction, write_segment};
use crate::log::history::History;
use crate::log::reader::Reader;
use crate::log::{boundary, checkpoint::Checkpoint};
use crate::model::{LogId, Position, Slot};
use crate::store::layout;

/// An error that names the object of `slot`, and not its bytes.
fn names(error: &LogError, slot: u64) -> bool {
    matches!(error, LogError::Object(error) if error.key == layout::segment(&main_source(), Slot::new(slot)))
}

/// A segment of two frames and of a few thousand bytes.
async fn two_frames() -> (Fixture, LogId, crate::log::Entry, Bytes) {
    let fixture = Fixture::new(11);
    let mut writer = fixture.writer().await;
    write_segment(&mut writer, &[transaction(1), spanning(2), transaction(3)].concat()).await;
    let (log, entry, bytes) = (fixture.log().await, fixture.entry(2).await, fixture.object(2).await);
    let opened = Object::open(&fixture.env, &layout::segment(&main_source(), Slot::new(2)), bytes.clone()).await;
    assert_eq!(opened.unwrap().frames(), 2);
    (fixture, log, entry, bytes)
}

#[tokio::test]
async fn a_sealed_segment_opens_as_what_was_appended() {
    let (fixture, log, entry, bytes) = two_frames().await;
    let records = fixture.read(log, &entry, bytes).unwrap();
    assert_eq!(records, [transaction(1), spanning(2), transaction(3)].concat());
}

#[tokio::test]
async fn l4_no_flipped_bit_of_a_segment_goes_unseen() {
    let (fixture, log, entry, bytes) = two_frames().await;
    for at in 0..bytes.len() {
        for flip in [0x01, 0x80] {
            let mut flipped = bytes.to_vec();
            flipped[at] ^= flip;
            let error = fixture.read(log, &entry, flipped.into()).expect_err(&format!("byte {at} of {}", bytes.len()));
            assert!(names(&error, 2), "byte {at}: {error:?}");
        }
    }
}

#[tokio::test]
async fn l4_no_flipped_bit_of_any_other_object_goes_unseen() {
    let fixture = Fixture::with_a_log(12).await;
    let mut seal = Seal::begin(&fixture.env, *fixture.log().await.as_bytes(), Epoch::new(1)).await.unwrap();
    let (first, second) = (fixture.entry(1).await, fixture.entry(2).await);
    let listed = Checkpoint { previous: Slot::NONE, entries: vec![first, second.clone()] };
    let source = main_source();
    let objects = [
        (layout::checkpoint(&source, Slot::new(2)), listed.seal(&mut seal).unwrap()),
        (layout::boundary(&source, Slot::new(2)), boundary::seal(&second, [7; 32], &mut seal).unwrap()),
    ];
    for (key, sealed) in objects {
        let read = |bytes: Bytes| {
            let object = Object::open(&fixture.env, &key, bytes).now_or_never().expect("a key file opens at once")?;
            if object.header.kind == ObjectKind::Boundary {
                boundary::read(object).map(drop)
            } else {
                Checkpoint::read(object).map(drop)
            }
        };
        read(sealed.bytes()).unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.as_bytes().to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(flipped.into()).expect_err("a changed object").key, key, "bit {bit}");
        }
    }
}

#[tokio::test]
async fn l4_no_cut_and_no_surplus_byte_goes_unseen() {
    let (fixture, log, entry, bytes) = two_frames().await;
    for length in 0..bytes.len() {
        let error = fixture.read(log, &entry, bytes.slice(..length)).expect_err("a cut object");
        assert!(names(&error, 2), "cut to {length}: {error:?}");
    }
    for surplus in [&b"\0"[..], &[0; 24], &bytes[bytes.len() - TRAILER_BYTES..], &bytes] {
        let longer = [&bytes, surplus].concat();
        assert!(names(&fixture.read(log, &entry, longer.into()).unwrap_err(), 2), "{} bytes more", surplus.len());
    }
}

/// Who changes a header can compute its sum too: only the seal stands in the way.
#[tokio::test]
async fn l4_a_header_that_was_edited_with_its_sum_opens_nothing() {
    let (fixture, log, entry, bytes) = two_frames().await;
    let (header, length) = Header::decode(&bytes).unwrap();
    let wrap = header.wraps[0].clone();
    let flags = crate::codec::segment::Flags::HOLDS_GAP;
    #[rustfmt::skip]
    let edits = [
        // the edited header                                                   what it would do
        (Header { flags, ..header.clone() },                                   "hide or invent a gap"),
        (Header { from: Position::new(3), ..header.clone() },                  "hide a hole before it"),
        (Header { to: Position::new(90), ..header.clone() },                   "acknowledge what is not there"),
        (Header { from_time: now(5), ..header.clone() },                       "move a restore's start"),
        (Header { to_time: now(5), ..header.clone() },                         "move a restore's end"),
        (Header { needs_from: Slot::new(1), ..header.clone() },                "begin reading elsewhere"),
        (Header { sealed_at: now(5), ..header.clone() },                       "look older for retention"),
        (Header { previous: [9; 32], ..header.clone() },                       "fit into another chain"),
        (Header { wraps: vec![wrap.clone(), wrap], ..header.clone() },         "add a recipient"),
        (Header { salt: [9; 32], ..header.clone() },                           "derive another key"),
        (Header { commitment: [9; 32], ..header.clone() },                     "open under two keys"),
        (Header { epoch: Epoch::new(9), ..header.clone() },                    "outlive a fence"),
        (Header { slot: Slot::new(3), ..header.clone() },                      "stand in another place"),
        (Header { stream: [9; 16], ..header.clone() },                         "stand in another log"),
        (Header { kind: ObjectKind::Heartbeat, ..header.clone() },             "count as another kind"),
    ];
    for (edited, why) in edits {
        let forged = [&edited.encode(), &bytes[length..]].concat();
        // The trailer's sum and place are right again too, so that nothing but the seal can tell.
        let moved = edited.encode().len() - length;
        let forged = with_trailer_moved(&forged, moved);
        // The list was forged alike.
        let listed = crate::log::Entry { hash: None, ..crate::log::Entry::of_header(&edited) };
        let place = crate::log::Entry { slot: entry.slot, ..listed };
        for entry in [&entry, &place] {
            let log = if edited.stream == header.stream { log } else { LogId::from_bytes(edited.stream) };
            assert!(names(&fixture.read(log, entry, forged.clone()).expect_err(why), 2), "{why}");
        }
    }
}

fn now(micros: i64) -> crate::model::Timestamp {
    crate::model::Timestamp::from_micros(micros)
}

fn with_trailer_moved(object: &[u8], by: usize) -> Bytes {
    let (body, trailer) = object.split_at(object.len() - TRAILER_BYTES);
    let trailer = Trailer::decode(trailer).unwrap();
    let trailer = Trailer { footer_at: trailer.footer_at + by as u32, ..trailer };
    [body, &trailer.encode()].concat().into()
}

#[tokio::test]
async fn l4_frames_that_were_swapped_repeated_or_dropped_open_nothing() {
    let (fixture, log, entry, bytes) = two_frames().await;
    let (_, header) = Header::decode(&bytes).unwrap();
    let trailer = Trailer::decode(&bytes[bytes.len() - TRAILER_BYTES..]).unwrap();
    let length = |at: usize| 9 + u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let second = header + length(header);
    let footer = second + length(second);
    assert_eq!(footer, trailer.footer_at as usize);
    let [head, one, two, end] =
        [&bytes[..header], &bytes[header..second], &bytes[second..footer], &bytes[footer..bytes.len() - TRAILER_BYTES]];
    #[rustfmt::skip]
    let cases = [
        // frames                    why
        (vec![two, one],             "swapped"),
        (vec![one, one],             "repeated in another's place"),
        (vec![one, two, two],        "repeated"),
        (vec![one],                  "the last one dropped"),
        (vec![two],                  "the first one dropped"),
        (vec![],                     "all dropped"),
    ];
    for (frames, why) in cases {
        for claimed in [trailer.frames, frames.len() as u32] {
            let body = [head, &frames.concat()].concat();
            let trailer = Trailer { footer_at: body.len() as u32, frames: claimed, ..trailer };
            let forged = [&body, end, &trailer.encode()].concat();
            if forged == bytes {
                continue;
            }
            assert!(names(&fixture.read(log, &entry, forged.into()).expect_err(why), 2), "{why}");
        }
    }
    let (footer_first, no_footer) = ([head, end, one, two].concat(), [head, one, two].concat());
    for body in [footer_first, no_footer] {
        let forged = [&body, &bytes[bytes.len() - TRAILER_BYTES..]].concat();
        assert!(names(&fixture.read(log, &entry, forged.into()).unwrap_err(), 2), "the footer is the last frame");
    }
}

#[tokio::test]
async fn l4_an_object_in_anothers_place_is_misplaced() {
    let fixture = Fixture::with_a_log(13).await;
    let mut elsewhere = Fixture::new(14);
    elsewhere.env.keys = Arc::clone(&fixture.env.keys);
    let mut writer = elsewhere.writer().await;
    write_segment(&mut writer, &[transaction(1), transaction(2)].concat()).await;
    let mut seal = Seal::begin(&fixture.env, *fixture.log().await.as_bytes(), Epoch::new(1)).await.unwrap();
    let listed = Checkpoint { previous: Slot::new(1), entries: vec![fixture.entry(2).await] };
    let (log, entry) = (fixture.log().await, fixture.entry(2).await);
    #[rustfmt::skip]
    let cases = [
        // bytes at slot 2                                      why
        (fixture.object(3).await,                               "the next slot's"),
        (fixture.object(1).await,                               "an earlier slot's, again"),
        (elsewhere.object(2).await,                             "the same slot of another log under the same key"),
        (listed.seal(&mut seal).unwrap().bytes(),               "a checkpoint of the same slot"),
    ];
    for (bytes, why) in cases {
        let error = fixture.read(log, &entry, bytes).expect_err(why);
        assert!(names(&error, 2), "{why}: {error:?}");
        let misplaced = |error: &ObjectError| matches!(error.kind, ObjectErrorKind::Misplaced { .. });
        assert!(matches!(error, LogError::Object(error) if misplaced(&error)), "{why}");
    }
    // Another segment's trailer, were it of the very same shape.
    let other = fixture.object(4).await;
    let bytes = fixture.object(2).await;
    let forged = [&bytes[..bytes.len() - TRAILER_BYTES], &other[other.len() - TRAILER_BYTES..]].concat();
    assert!(names(&fixture.read(log, &entry, forged.into()).unwrap_err(), 2));
}

#[tokio::test]
async fn l4_an_object_of_another_epoch_is_noticed_where_the_list_says_otherwise() {
    let fixture = Fixture::new(15);
    let mut first = fixture.writer().await;
    write_segment(&mut first, &transaction(1)).await;
    let (log, entry, old) = (fixture.log().await, fixture.entry(2).await, fixture.object(2).await);
    let second = fixture.writer().await;
    assert_eq!(second.epoch(), Epoch::new(2));
    let entry = crate::log::Entry { epoch: Epoch::new(2), ..entry };
    assert!(names(&fixture.read(log, &entry, old).unwrap_err(), 2));
}

#[tokio::test]
async fn another_key_opens_nothing_and_the_error_names_both_keys() {
    let fixture = Fixture::with_a_log(16).await;
    let stranger = Fixture::new(17);
    let key = layout::segment(&main_source(), Slot::new(2));
    let error = Object::open(&stranger.env, &key, fixture.object(2).await).await.unwrap_err();
    let ObjectErrorKind::Key(error) = error.kind else { panic!("{error:?}") };
    let (sealed_for, at_hand) = (fixture.env.keys.at_hand(), stranger.env.keys.at_hand());
    assert_eq!(error, crate::crypto::KeyError::OtherKey { sealed_for, at_hand });
}

#[tokio::test]
async fn l4_a_reader_notices_a_segment_that_does_not_continue_the_one_before() {
    let fixture = Fixture::with_a_log(18).await;
    let history = History::load(&fixture.env, &main_source()).await.unwrap();
    let log = history.log.unwrap();
    let skipping = history.entries.iter().filter(|entry| entry.slot != Slot::new(3)).cloned();
    let skipping: Vec<_> = skipping.map(|entry| crate::log::Entry { hash: None, ..entry }).collect();
    let mut reader = Reader::new(&fixture.env, &main_source(), log, skipping);
    reader.next().await.unwrap();
    reader.next().await.unwrap();
    assert!(names(&reader.next().await.unwrap_err(), 4), "4 continues 3, which was left out");
}

#[tokio::test]
async fn no_key_and_nonce_meet_twice_because_every_attempt_draws_its_salt() {
    let fixture = Fixture::new(19);
    let mut seal = Seal::begin(&fixture.env, [1; 16], Epoch::new(1)).await.unwrap();
    let frame = pack(b"the same plain bytes");
    let header = Header { slot: Slot::new(5), ..draft(ObjectKind::Data) };
    let mut commitments = BTreeSet::new();
    let mut bodies = BTreeSet::new();
    for _ in 0..500 {
        let sealed = seal.seal(&header, std::slice::from_ref(&frame), |_| Vec::new()).unwrap();
        let (header, length) = Header::decode(sealed.as_bytes()).unwrap();
        assert!(commitments.insert(header.commitment), "one key for two attempts");
        assert!(bodies.insert(sealed.as_bytes()[length..length + 40].to_vec()), "one ciphertext for two attempts");
    }
}

#[tokio::test]
async fn a_data_key_lives_for_a_day_at_most() {
    let fixture = Fixture::new(20);
    let mut writer = fixture.writer().await;
    let mut wraps = Vec::new();
    for (number, hours) in [(1, 0), (2, 1), (3, 24), (4, 24)] {
        fixture.clock.advance(std::time::Duration::from_hours(hours));
        write_segment(&mut writer, &transaction(number)).await;
        wraps.push(Header::decode(&fixture.object(number + 1).await).unwrap().0.wraps);
    }
    assert_eq!(wraps[0], wraps[1], "the same day");
    assert!(wraps[1] != wraps[2] && wraps[2] != wraps[3], "another day");
    let entry = fixture.entry(5).await;
    assert_eq!(fixture.read(fixture.log().await, &entry, fixture.object(5).await).unwrap(), transaction(4));
}

#[tokio::test]
async fn either_cipher_seals_and_opens() {
    use crate::codec::segment::Suite;
    for suite in [Suite::ChaCha20Poly1305, Suite::Aes256Gcm] {
        let mut fixture = Fixture::new(21);
        fixture.env.suite = suite;
        let mut writer = fixture.writer().await;
        write_segment(&mut writer, &transaction(1)).await;
        write_segment(&mut writer, &[heartbeat(11)]).await;
        let (log, entry) = (fixture.log().await, fixture.entry(2).await);
        let bytes = fixture.object(2).await;
        assert_eq!(Header::decode(&bytes).unwrap().0.suite, suite);
        assert_eq!(fixture.read(log, &entry, bytes).unwrap(), transaction(1));
    }
}
