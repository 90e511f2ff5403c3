//! What is interrupted is void, by whatever it is interrupted, and comes again whole.

use super::*;
use crate::log::fixture::{commit, spanning, transaction};

fn take(assembler: &mut Assembler, records: &[Record]) -> Vec<Item> {
    let mut items = Vec::new();
    for record in records {
        assembler.push(record.clone(), &mut items).unwrap();
    }
    items
}

/// A session's record stands behind every fence and voids as well, so nothing else would show that a fence alone does.
#[test]
fn l2_a_fence_voids_an_open_transaction_which_then_comes_again_whole() {
    #[rustfmt::skip]
    let cases = [
        // transaction     cut    why
        (transaction(2),   1,     "behind its beginning"),
        (transaction(2),   2,     "before its end"),
        (spanning(2),      2,     "inside a message"),
    ];
    for (records, cut, why) in cases {
        let mut assembler = Assembler::new(Position::ZERO);
        let before = take(&mut assembler, &[transaction(1), records[..cut].to_vec()].concat());
        assert!(before.contains(&Item::Commit(commit(10))) && assembler.is_open(), "{why}");
        assert_eq!((assembler.fence(), assembler.is_open()), (Some(Item::Void), false), "{why}");
        assert_eq!(assembler.fence(), None, "{why}: nothing is open any more");
        let again = take(&mut assembler, &records);
        assert!(!again.contains(&Item::Void), "{why}: the fence had voided it");
        assert!(matches!(again.first(), Some(Item::Begin(..))), "{why}: {again:?}");
        assert_eq!(again.last(), Some(&Item::Commit(commit(20))), "{why}");
        let whole = take(&mut Assembler::new(commit(10).position), &records);
        assert_eq!(again, whole, "{why}: as if it had come for the first time");
    }
}

#[test]
fn l2_two_reigns_halves_are_never_joined_to_a_transaction() {
    let mut assembler = Assembler::new(Position::ZERO);
    let records = transaction(1);
    take(&mut assembler, &records[..2]);
    assembler.fence();
    assert_eq!(take(&mut assembler, &records[1..]), [], "the end alone is none");
}

#[test]
fn l2_a_session_and_another_beginning_void_an_open_transaction_too() {
    let session = Record::own(Kind::Session, Bytes::new());
    for interrupts in [session, transaction(2).remove(0)] {
        let mut assembler = Assembler::new(Position::ZERO);
        take(&mut assembler, &transaction(1)[..2]);
        assert_eq!(
            take(&mut assembler, std::slice::from_ref(&interrupts)).first(),
            Some(&Item::Void),
            "{interrupts:?}"
        );
    }
}
