//! The fault matrix: every way in which a store, a disk or a key service is known to fail, the laws that must hold then,
//! and the tests that walk it; a row without a test fails here.
//!
//! A test that walks a row begins its name with it: `s3_l5_…` walks S3, `s8_s11_l4_…` walks S8 and S11. Others prove the
//! same for another reason and keep their names. The doubles' own rule, that a fault which never struck fails its test,
//! stands in `tests/s3/double.rs` (what was planned and never met a request) and beside each count of other faults.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A row: its name, the fault, what must hold (`LIVE`: once the faults end, everything becomes durable), and its tests.
type Row = (&'static str, &'static str, &'static str, &'static [&'static str]);

#[rustfmt::skip]
const ROWS: [Row; 23] = [
    ("S1", "500, 502, 503, 504 on any request, at first or for ever", "L1 LIVE", &[
        "s1_every_operation_outlives_a_store_that_fails_at_first",
        "s1_a_store_that_stays_away_is_an_error_within_the_deadline",
        "the_waits_grow_to_their_bound_and_are_not_alike",
    ]),
    ("S2", "a storm of SlowDown", "L8 LIVE", &[
        "s2_l8_a_storm_of_slow_down_lowers_the_rate_and_drops_nothing",
        "l8_the_rate_falls_with_each_slow_down_and_comes_back_with_answers",
    ]),
    ("S3", "a put landed and its reply was lost", "L1 L5", &[
        "s3_l5_a_lost_reply_is_told_from_a_rival",
        "s3_a_bare_412_is_never_success",
        "s3_l1_a_put_of_unknown_fate_latches_the_writer_until_the_log_is_opened_anew",
        "put_own_tells_ours_from_a_rivals",
    ]),
    // The tail is not read back after each put: what vanished is found by the chain, or by the slot, which confirmed more.
    ("S4", "200, and yet never visible", "L1 L4", &[
        "s4_l4_what_was_acknowledged_and_never_stored_is_named_by_the_verifier_and_read_by_nobody_as_a_short_log",
        "s4_l4_a_vanished_object_near_the_end_shows_as_soon_as_a_new_reign_stands_behind_it",
        "l4_a_lost_tail_shows_against_the_slot",
        "l4_the_slot_knows_of_a_lost_end_and_verify_says_whom_it_asked",
    ]),
    ("S5", "409 ConditionalRequestConflict", "L5", &["s5_a_conflict_is_tried_again_with_the_same_bytes"]),
    ("S6", "a put that arrives late", "L5", &[
        "s6_l5_a_put_that_arrives_late_overwrites_nobody",
        "l1_nothing_is_lost_when_a_late_put_takes_a_slot_behind_the_fence",
    ]),
    ("S7", "a list that is stale, partial, out of order or repeated", "L2 L7", &[
        "s7_l4_a_page_with_a_hole_is_a_hole_and_never_a_short_log",
        "s7_a_page_that_is_out_of_order_or_comes_twice_is_refused",
        "s7_l5_a_stale_page_lets_nobody_take_a_slot_twice",
    ]),
    // Nothing is uploaded in parts: there is no part to lose, no Complete to send twice and no Abort to race.
    ("S8", "a connection that is cut at any byte", "L1 L4 L5", &[
        "s8_l1_l5_a_put_whose_connection_ends_at_any_byte_lands_whole_and_once",
        "s8_l4_an_answer_that_ends_at_any_byte_is_read_again_and_never_shorter",
        "s8_l1_a_put_that_is_cut_each_time_is_never_told_as_not_done",
        "s8_s11_l4_a_body_that_breaks_off_is_read_again_and_never_shorter",
    ]),
    ("S9", "an answer with another checksum", "L1", &["s9_l1_an_answer_with_another_checksum_is_no_acknowledgement"]),
    ("S10", "a flipped bit in what is read, in every region", "L4", &[
        "s10_l4_bytes_that_changed_in_the_bucket_are_damage_and_no_silence",
        "s10_l4_a_flipped_bit_never_passes",
        "l4_no_flipped_bit_of_a_segment_goes_unseen",
        "l4_no_flipped_bit_of_any_other_object_goes_unseen",
    ]),
    ("S11", "a body cut short, other bytes, another object, an older checkpoint", "L4 L2", &[
        "s8_s11_l4_a_body_that_breaks_off_is_read_again_and_never_shorter",
        "s11_l4_other_bytes_than_were_asked_for_are_refused",
        "l4_no_cut_and_no_surplus_byte_goes_unseen",
        "l4_an_object_in_anothers_place_is_misplaced",
        "l7_entries_that_end_before_the_newest_checkpoint_give_way_to_it",
    ]),
    ("S12", "credentials that expire, rights that are taken away", "L1 LIVE L11", &[
        "s12_expired_credentials_are_asked_for_anew_and_the_put_goes_on",
        "s12_stale_credentials_are_asked_for_anew_whatever_is_asked",
        "s12_l11_credentials_that_stay_stale_are_an_outage_and_sealing_goes_on",
        "s12_l11_what_is_denied_is_told_at_once_and_names_the_remedy",
    ]),
    ("S13", "clocks that stand apart", "L10 L11 LIVE", &[
        "s13_l11_clocks_too_far_apart_are_a_typed_stop_that_names_the_remedy_and_ends_when_they_are_set",
        "s13_live_a_request_that_was_signed_by_a_wrong_clock_is_signed_again_by_the_stores",
        "s13_live_a_daemon_whose_clock_is_minutes_or_days_off_captures_into_a_bucket_that_checks_signatures",
        "s13_what_time_a_server_says_it_is_decides_nothing",
        "s13_l10_nothing_is_deleted_by_a_clock_alone",
        "s13_l10_a_clock_that_jumped_ahead_deletes_nothing_and_says_so",
    ]),
    ("S14", "no bucket, no answer, no server", "L4 L8 L9 LIVE", &[
        "s14_a_store_that_never_answers_costs_one_attempt_and_no_more",
        "s14_a_get_that_nobody_answers_costs_the_time_of_an_answer_and_not_of_the_largest_body",
        "s14_l10_a_404_that_is_not_the_stores_own_is_an_outage_and_never_a_missing_object",
        "s14_l8_a_road_that_falls_silent_costs_one_attempt_wherever_it_does",
        "s14_l4_a_bucket_that_is_gone_is_an_error_and_never_empty",
        "s14_a_server_that_is_not_there_is_told_within_the_deadline",
        "s14_l8_live_half_an_hour_without_the_region_costs_time_and_nothing_else",
        "l9_when_the_bucket_hangs_and_then_is_gone_the_mirror_restores_alone_and_takes_its_place",
        "l9_a_mirror_in_a_bucket_that_hangs_holds_nothing_up_and_restores_alone_when_it_has_caught_up",
        "l12_a_slot_is_given_up_while_the_store_is_away_and_the_gap_is_told",
    ]),
    ("S15", "expiry against readers and against writers that slept", "L10 L5", &[
        "s15_l5_a_writer_that_slept_through_an_expiry_stops",
        "s15_l5_who_slept_while_taking_a_fence_takes_another",
        "s15_l10_a_hold_that_a_store_lists_and_says_is_missing_is_never_passed_over",
        "s15_l10_what_expires_while_somebody_looks_is_not_missing",
        "s15_l10_an_expiry_killed_anywhere_leaves_a_log_that_opens_and_is_begun_again",
    ]),
    ("S16", "somebody else deletes or puts a second version", "L4", &[
        "s16_l4_the_oldest_version_of_each_slot_wins_and_who_put_another_or_hid_it_is_told_of",
        "s16_l4_the_same_on_a_versioned_bucket_of_a_real_server",
        "s16_l4_verify_and_rebuild_name_what_was_hidden_or_replaced_and_read_what_was_put_first",
        "s16_a_second_version_or_a_delete_marker_is_told_and_the_oldest_is_the_true_one",
        "s16_l4_a_mirror_that_compares_copies_what_was_put_first_and_nothing_that_expired",
        "s16_l4_a_mirror_of_a_versioned_bucket_of_a_real_server_copies_what_was_put_first",
        "s16_l4_what_is_replaced_or_hidden_before_a_mirror_has_taken_it_arrives_as_it_was_put",
        "l4_a_missing_object_is_named_and_a_dying_writers_hole_is_not",
        "l3_a_lost_object_shows_on_the_board_and_a_new_base_comes_by_itself",
    ]),
    ("D1", "no space: the store, the catalog, the state folder, a base", "L8 L1 L9", &[
        "d1_l8_a_full_disk_is_told_with_its_remedy_and_leaves_nothing",
        "d1_l1_a_full_disk_stops_acknowledgement_and_nothing_else_and_capture_recovers",
        "d1_l8_a_base_that_finds_no_space_is_none_takes_none_and_the_next_one_is",
        "d1_l9_a_state_folder_without_space_stops_no_capture_no_base_and_no_start",
        "d1_l8_l9_a_catalog_whose_disk_is_full_holds_up_nobody_and_is_on_disk_again_once_there_is_space",
    ]),
    ("D2", "EIO once, then well again", "L1", &[
        "d2_l1_one_failed_call_loses_nothing_whatever_the_power_takes_after_it",
        "d2_d4_l7_l9_one_failed_call_on_the_catalogs_files_stops_no_capture_and_it_is_made_anew",
        "every_error_says_what_can_be_done",
    ]),
    ("D3", "a power cut that takes what was not synced", "L1 L7", &[
        "d3_l1_l7_whatever_a_power_cut_takes_the_next_process_finds_all_that_was_promised_and_goes_on",
        "d3_a_sync_that_is_left_out_is_noticed",
        "a_put_that_is_killed_leaves_the_whole_object_or_none",
    ]),
    ("D4", "sled: damage, panics, locks, other versions, a folder deleted", "L7 L9", &[
        "d2_d4_l7_l9_one_failed_call_on_the_catalogs_files_stops_no_capture_and_it_is_made_anew",
        "d4_l7_a_damaged_index_starts_anew_or_answers_truly_and_never_panics",
        "d4_l7_an_entry_that_fails_its_sum_latches_and_the_next_opening_sets_the_index_aside",
        "d4_l7_an_entry_that_fails_its_sum_is_made_anew_without_anybody",
        "d4_l7_an_index_of_another_store_is_set_aside_and_two_such_are_kept",
        "d4_an_index_that_is_open_elsewhere_is_left_alone",
        "d4_a_panic_inside_is_an_error_outside",
        "d4_l7_an_index_whose_files_are_deleted_is_made_anew_and_a_rebuild_says_what_it_found",
        "d4_a_catalog_that_a_verb_has_open_is_opened_soon_after",
        "d4_l9_an_index_that_breaks_or_panics_stops_nothing_and_is_made_anew",
        "d4_l8_indexes_that_break_one_after_another_end_in_memory",
        "d4_l7_a_catalog_deleted_or_damaged_under_the_daemon_is_made_anew_while_capture_goes_on",
    ]),
    ("M1", "the key service fails, throttles or is silent", "L6 L8", &[
        "m1_l6_sealing_goes_on_through_an_outage_and_ends_with_the_hard_life",
        "m1_a_service_that_never_answers_holds_nobody_longer_than_a_call_may_last",
        "m1_while_the_service_is_out_a_new_reign_begins_under_the_key_at_hand_until_its_hard_life_ends",
    ]),
    ("M2", "a key disabled, to be deleted, denied, or behind another alias", "L11", &[
        "m2_l11_a_key_that_was_taken_away_stops_the_writer_at_its_next_data_key_and_says_why",
        "m2_l11_a_key_that_somebody_took_away_begins_nothing_whatever_is_at_hand",
        "m2_where_the_alias_points_elsewhere_old_objects_name_the_key_that_they_need",
    ]),
    ("M3", "a start while the key service is out", "L8", &[
        "m3_l8_a_daemon_that_starts_while_kms_is_out_does_not_and_leaves_the_log_as_it_was",
        "m3_a_process_that_starts_while_the_service_is_out_does_not",
    ]),
];

#[test]
fn every_row_of_the_fault_matrix_is_walked_by_tests_that_exist() {
    let (tests, mut broken) = (tests(), Vec::new());
    let expected = (1..=16).map(|n| format!("S{n}")).chain((1..=4).map(|n| format!("D{n}")));
    let expected: Vec<_> = expected.chain((1..=3).map(|n| format!("M{n}"))).collect();
    assert_eq!(ROWS.map(|(row, ..)| row).to_vec(), expected, "the rows of the matrix, in order");
    for (row, fault, laws, walkers) in ROWS {
        let is_law = |law: &str| law == "LIVE" || law.strip_prefix('L').is_some_and(|n| n.parse::<u8>().is_ok());
        if laws.is_empty() || !laws.split(' ').all(is_law) {
            broken.push(format!("{row} ({fault}) names no law: {laws:?}"));
        }
        if !walkers.iter().any(|test| rows_of(test).contains(row)) {
            broken.push(format!("{row} ({fault}) has no test whose name begins with it"));
        }
        for test in walkers {
            match tests.get(*test) {
                None => broken.push(format!("{row} ({fault}): there is no test {test}")),
                Some(Runs::Always) => {}
                Some(Runs::Ignored) => broken.push(format!("{row} ({fault}): {test} is ignored")),
            }
        }
    }
    for test in tests.keys() {
        for row in rows_of(test) {
            if !ROWS.iter().any(|(name, _, _, walkers)| *name == row && walkers.contains(&test.as_str())) {
                broken.push(format!("{test} says that it walks {row}, whose line does not have it"));
            }
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

/// The rows that a test's name begins with.
fn rows_of(test: &str) -> BTreeSet<String> {
    let row = |word: &&str| {
        let number = word.strip_prefix(['s', 'd', 'm']);
        number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    test.split('_').take_while(row).map(str::to_uppercase).collect()
}

#[test]
fn a_name_says_its_rows() {
    let rows = |test| rows_of(test).into_iter().collect::<Vec<_>>();
    assert_eq!(rows("s8_s11_l4_a_body"), ["S11", "S8"]);
    assert_eq!(rows("l4_s8"), [""; 0]);
    assert_eq!(rows("sleeps_well"), [""; 0]);
    assert_eq!(rows("m_1"), [""; 0]);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Runs {
    Always,
    Ignored,
}

/// Every test of the sources, by name.
fn tests() -> BTreeMap<String, Runs> {
    let mut found = BTreeMap::new();
    for path in ["src", "chaos", "tests"].into_iter().flat_map(|folder| files(Path::new(folder))) {
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = text.lines().map(str::trim).collect();
        for (at, line) in lines.iter().enumerate() {
            let plain = line.strip_prefix("async ").unwrap_or(line);
            let Some(name) = plain.strip_prefix("fn ").and_then(|rest| rest.split(['(', '<']).next()) else { continue };
            let above: Vec<_> = lines
                .iter()
                .take(at)
                .rev()
                .take_while(|line| line.starts_with("#[") || line.starts_with("//"))
                .collect();
            if above.iter().any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test")) {
                // In two halves, so that whoever looks for ignored tests in the sources does not find this line.
                let ignored = above.iter().any(|line| line.starts_with(concat!("#[ig", "nore")));
                found.insert(name.to_owned(), if ignored { Runs::Ignored } else { Runs::Always });
            }
        }
    }
    found
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let found = entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] });
    found.filter(|path| path.extension().is_some_and(|end| end == "rs")).collect()
}
