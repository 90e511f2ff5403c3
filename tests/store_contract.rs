//! One body for every store: what the contract on `Store` promises, each promise a test of each store.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "servers of tests run beside them, and mirrors follow")]

#[path = "s3/mod.rs"]
#[expect(dead_code, unreachable_pub, reason = "each test program uses what it needs")]
mod s3;
#[path = "store_contract/stores.rs"]
mod stores;

use bytes::Bytes;
use futures::future::join_all;
use holdfast::crypto::Sealed;
use holdfast::entropy::SeededEntropy;
use holdfast::model::ObjectKey;
use holdfast::model::limits::LIST_PAGE_KEYS_MAX;
use holdfast::store::{OBJECT_BYTES_MAX, StoreErrorKind, Verdict, probe_refuses_overwrite, put_own};
use holdfast::store::{Part, Put, PutNew, Store};

/// Every promise for every store. `SeaweedFS` lists folder by folder, so that it has an order of its own, and takes a second
/// and a half for each contended name. moto looks for an object and makes it in two steps, on several threads: of racers
/// that ask at the very same time two may win there, so that promise is not asked of it.
macro_rules! every_store_keeps {
    ($($promise:ident)*) => {
        every_store_keeps!(@ordered memory $($promise)* of_eight_racers_exactly_one_wins);
        every_store_keeps!(@ordered folder $($promise)* of_eight_racers_exactly_one_wins);
        every_store_keeps!(@ordered retrying_memory $($promise)* of_eight_racers_exactly_one_wins);
        every_store_keeps!(@ordered retrying_folder $($promise)* of_eight_racers_exactly_one_wins);
        every_store_keeps!(@ordered double $($promise)* of_eight_racers_exactly_one_wins);
        every_store_keeps!(@ordered moto $($promise)*);
        every_store_keeps!(@ordered mirrored_memory $($promise)* of_eight_racers_exactly_one_wins);
        every_store_keeps!(@ordered mirrored_folder $($promise)* of_eight_racers_exactly_one_wins);
        every_store_keeps!(@ordered mirrored_bucket $($promise)*);
        every_store_keeps!(@ seaweed $($promise)* pages_of_a_log_hold_every_name_once_in_order
            an_order_of_folders_is_refused_and_never_a_hole of_eight_racers_exactly_one_wins_a_few_times);
    };
    (@ordered $store:ident $($promise:ident)*) => {
        every_store_keeps!(@ $store $($promise)* pages_hold_every_name_once_in_order
            a_listing_starts_after_and_keeps_to_its_prefix);
    };
    (@ $store:ident $($promise:ident)*) => {
        mod $store {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $promise() {
                    let fixture = crate::stores::$store().await;
                    crate::$promise(&*fixture.store).await;
                }
            )*
        }
    };
}

every_store_keeps! {
    an_object_comes_back_as_it_was_put
    there_is_no_overwrite
    readers_see_the_whole_object_or_none
    a_part_is_exactly_what_was_asked_for
    what_is_not_there_is_missing
    an_object_that_nobody_could_read_is_refused
    what_was_put_is_in_the_next_page
    what_was_deleted_stays_gone
    our_own_object_is_told_from_a_rivals
    the_probe_finds_it_sound
}

fn key(name: &str) -> ObjectKey {
    name.parse().unwrap()
}

fn sealed(bytes: impl Into<Vec<u8>>) -> Sealed {
    Sealed::stored(Bytes::from(bytes.into()))
}

fn names(keys: &[ObjectKey]) -> Vec<&str> {
    keys.iter().map(ObjectKey::as_str).collect()
}

async fn an_object_comes_back_as_it_was_put(store: &dyn Store) {
    let every_byte: Vec<u8> = (0..=255).collect();
    let large: Vec<u8> = (0..3_000_017_u32).flat_map(u32::to_le_bytes).collect();
    #[rustfmt::skip]
    let cases = [
        // name                 bytes                                   why
        ("a/empty",             Vec::new(),                             "no bytes at all"),
        ("a/zero",              vec![0],                                "a zero byte ends nothing"),
        ("a/every",             every_byte,                             "every byte there is"),
        ("a/text",              "käse – 山 \r\n".as_bytes().to_vec(),   "text is bytes"),
        ("a/large",             large,                                  "more than any buffer"),
        ("top",                 vec![1],                                "a name without a folder"),
        ("b/c/d/e/f/g-h_i.j",   vec![2],                                "deep, with every sign"),
    ];
    for (name, bytes, why) in cases {
        let body = sealed(bytes);
        assert_eq!(store.put_new(&key(name), body.clone()).await.unwrap(), PutNew::Created, "{why}");
        assert!(store.get(&key(name), Part::Whole).await.unwrap() == body, "{why}");
        assert_eq!(usize::try_from(store.size(&key(name)).await.unwrap()).unwrap(), body.len(), "{why}");
    }
}

async fn there_is_no_overwrite(store: &dyn Store) {
    let name = key("log/main/1");
    assert_eq!(store.put_new(&name, sealed("first")).await.unwrap(), PutNew::Created);
    for second in ["second", "first", ""] {
        assert_eq!(store.put_new(&name, sealed(second)).await.unwrap(), PutNew::AlreadyThere);
        assert_eq!(store.get(&name, Part::Whole).await.unwrap(), sealed("first"));
    }
}

async fn of_eight_racers_exactly_one_wins(store: &dyn Store) {
    race(store, 25).await;
}

async fn of_eight_racers_exactly_one_wins_a_few_times(store: &dyn Store) {
    race(store, 5).await;
}

async fn race(store: &dyn Store, rounds: u8) {
    for round in 0..rounds {
        let name = key(&format!("race/{round}"));
        let bodies: Vec<_> = (0..8_u8).map(|racer| sealed(vec![racer; 10_000])).collect();
        let answers = join_all(bodies.iter().map(|body| store.put_new(&name, body.clone()))).await;
        let won = |(_, answer): &(&Sealed, _)| matches!(answer, Ok(PutNew::Created));
        let winners: Vec<_> = bodies.iter().zip(answers).filter(won).collect();
        let [(winner, _)] = winners.as_slice() else { panic!("round {round}: {} winners", winners.len()) };
        assert!(store.get(&name, Part::Whole).await.unwrap() == **winner, "the winner's bytes are there");
    }
}

async fn readers_see_the_whole_object_or_none(store: &dyn Store) {
    for round in 0..20 {
        let name = key(&format!("whole/{round}"));
        let body = sealed(vec![7; 1_000_000]);
        let reader = async {
            loop {
                match store.get(&name, Part::Whole).await {
                    Ok(seen) => return seen,
                    Err(error) => assert_eq!(error.kind, StoreErrorKind::Missing),
                }
                tokio::task::yield_now().await;
            }
        };
        let (put, seen) = futures::join!(store.put_new(&name, body.clone()), reader);
        assert_eq!(put.unwrap(), PutNew::Created);
        assert!(seen == body, "a part of the object was visible");
    }
}

async fn a_part_is_exactly_what_was_asked_for(store: &dyn Store) {
    let name = key("part");
    store.put_new(&name, sealed("0123456789")).await.unwrap();
    let range = |at, bytes| Part::Range { at, bytes };
    let first = |bytes| Part::First { bytes };
    let last = |bytes| Part::Last { bytes };
    let short = Err(StoreErrorKind::Short { size: 10 });
    #[rustfmt::skip]
    let cases = [
        // part                     answer                  why
        (Part::Whole,               Ok("0123456789"),       "all"),
        (range(0, 10),              Ok("0123456789"),       "a range may be all"),
        (range(3, 4),               Ok("3456"),             "the middle"),
        (range(9, 1),               Ok("9"),                "the last byte"),
        (range(10, 0),              Ok(""),                 "nothing, at the end"),
        (range(0, 0),               Ok(""),                 "nothing, at the start"),
        (range(0, 11),              short,                  "one byte too many"),
        (range(11, 0),              short,                  "nothing, from beyond the end"),
        (range(9, 2),               short,                  "half inside"),
        (range(u64::MAX, 1),        short,                  "the end of all numbers"),
        (range(1, u64::MAX),        short,                  "a length that overflows"),
        (first(3),                  Ok("012"),              "the head"),
        (first(0),                  Ok(""),                 "no head"),
        (first(10),                 Ok("0123456789"),       "the head is all"),
        (first(u64::MAX),           Ok("0123456789"),       "a smaller object comes whole"),
        (last(3),                   Ok("789"),              "the tail"),
        (last(0),                   Ok(""),                 "no tail"),
        (last(10),                  Ok("0123456789"),       "the tail is all"),
        (last(u64::MAX),            Ok("0123456789"),       "a smaller object comes whole"),
    ];
    for (part, answer, why) in cases {
        let found = store.get(&name, part).await.map_err(|error| error.kind);
        assert_eq!(found, answer.map(sealed), "{why}: {part:?}");
    }
}

async fn what_is_not_there_is_missing(store: &dyn Store) {
    store.put_new(&key("log/main/1"), sealed("x")).await.unwrap();
    for name in ["log/main/2", "log/other/1", "log/main", "log", "nothing"] {
        for part in [Part::Whole, Part::Range { at: 0, bytes: 0 }, Part::First { bytes: 1 }, Part::Last { bytes: 1 }] {
            let error = store.get(&key(name), part).await.unwrap_err();
            assert_eq!(error.kind, StoreErrorKind::Missing, "{name}");
            assert_eq!(error.to_string(), format!("get {name}: no such object"));
        }
        assert_eq!(store.size(&key(name)).await.unwrap_err().kind, StoreErrorKind::Missing, "{name}");
    }
    assert_eq!(store.list("log/other/", None).await.unwrap(), []);
    assert_eq!(store.list("nothing", None).await.unwrap(), []);
}

async fn an_object_that_nobody_could_read_is_refused(store: &dyn Store) {
    let too_large = usize::try_from(OBJECT_BYTES_MAX).unwrap() + 1;
    let error = store.put_new(&key("large"), sealed(vec![0; too_large])).await.unwrap_err();
    assert!(matches!(error.kind, StoreErrorKind::Refused(_)), "{error}");
    assert_eq!(store.list("", None).await.unwrap(), []);
}

/// Signs that sort before and after the slash: the order is that of whole names, not of folders.
const NEIGHBOURS: [&str; 7] =
    ["log/main-b/1", "log/main.c/1", "log/main0/1", "log/main_d/1", "log/ma/1", "loh", "log/main-e"];

async fn pages_hold_every_name_once_in_order(store: &dyn Store) {
    pages_hold(store, &NEIGHBOURS).await;
}

/// As above, with the names alone that sort the same folder by folder.
async fn pages_of_a_log_hold_every_name_once_in_order(store: &dyn Store) {
    pages_hold(store, &["log/main0/1", "log/main_d/1", "log/ma/1", "loh"]).await;
}

/// A server that sorts folders before it sorts names would hide one log behind another.
async fn an_order_of_folders_is_refused_and_never_a_hole(store: &dyn Store) {
    for name in ["log/main/1", "log/main-b/1"] {
        store.put_new(&key(name), sealed("x")).await.unwrap();
    }
    let error = store.list("log/", None).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Refused(holdfast::store::Refusal::ContractBroken));
    assert_eq!(names(&store.list("log/main/", None).await.unwrap()), ["log/main/1"], "each log alone can be listed");
}

async fn pages_hold(store: &dyn Store, neighbours: &[&str]) {
    let mut all: Vec<String> = (0..LIST_PAGE_KEYS_MAX * 2 + 500).map(|n| format!("log/main/{n:08x}")).collect();
    for neighbour in neighbours {
        all.push((*neighbour).to_owned());
    }
    let entropy = SeededEntropy::new(3);
    all.sort_by_cached_key(|_| entropy.next_u64());
    put_all(store, &all).await;
    all.sort_unstable();
    let (mut found, mut after, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = store.list("", after.as_ref()).await.unwrap();
        assert!(page.len() <= LIST_PAGE_KEYS_MAX);
        let Some(last) = page.last() else { break };
        after = Some(last.clone());
        found.extend(page);
        pages += 1;
    }
    assert_eq!(names(&found), all);
    assert!(pages >= 3, "{pages} pages");
}

/// Puts many small objects, some at a time.
async fn put_all(store: &dyn Store, all: &[String]) {
    for some in all.chunks(16) {
        let puts = some.iter().map(|name| async move { store.put_new(&key(name), sealed(Vec::new())).await });
        for put in join_all(puts).await {
            put.unwrap();
        }
    }
}

async fn a_listing_starts_after_and_keeps_to_its_prefix(store: &dyn Store) {
    for name in ["a/1", "a/10", "a/11", "a/2", "a-b/1", "a/sub/1", "a/sub/2", "a/sub-x/1", "b/1", "c"] {
        store.put_new(&key(name), sealed("x")).await.unwrap();
    }
    #[rustfmt::skip]
    let cases: &[(&str, Option<&str>, &[&str], &str)] = &[
        // prefix    after              found                                                           why
        ("",         Some("b/1"),       &["c"],                                                         "strictly after"),
        ("",         Some("c"),         &[],                                                            "the end"),
        ("",         Some("zz"),        &[],                                                            "beyond the end"),
        ("a/",       None,              &["a/1", "a/10", "a/11", "a/2", "a/sub-x/1", "a/sub/1", "a/sub/2"], "a folder"),
        ("a",        None,              &["a-b/1", "a/1", "a/10", "a/11", "a/2", "a/sub-x/1", "a/sub/1", "a/sub/2"], "half a name"),
        ("a/1",      None,              &["a/1", "a/10", "a/11"],                                       "names, not folders"),
        ("a/1",      Some("a/1"),       &["a/10", "a/11"],                                              "the prefix itself is past"),
        ("a/1",      Some("a/11"),      &[],                                                            "the prefix is used up"),
        ("a/",       Some("a/sub/1"),   &["a/sub/2"],                                                   "inside a subfolder"),
        ("a/",       Some("a/sub-z"),   &["a/sub/1", "a/sub/2"],                                        "between two subfolders"),
        ("a/",       Some("a/sub"),     &["a/sub-x/1", "a/sub/1", "a/sub/2"],                           "a folder's own name"),
        ("a/sub/",   Some("a/1"),       &["a/sub/1", "a/sub/2"],                                        "starts before the prefix"),
        ("a/sub/",   Some("b/1"),       &[],                                                            "starts behind the prefix"),
        ("a/sub",    None,              &["a/sub-x/1", "a/sub/1", "a/sub/2"],                           "half a folder's name"),
        ("a/1/",     None,              &[],                                                            "an object is no folder"),
        ("/",        None,              &[],                                                            "no name starts so"),
        ("../",      None,              &[],                                                            "nor so"),
        ("a//",      None,              &[],                                                            "nor so"),
        ("A/",       None,              &[],                                                            "nor so"),
    ];
    for (prefix, after, found, why) in cases {
        let page = store.list(prefix, after.map(key).as_ref()).await.unwrap();
        assert_eq!(names(&page), *found, "{why}: {prefix:?} after {after:?}");
    }
}

async fn what_was_put_is_in_the_next_page(store: &dyn Store) {
    let all: Vec<String> = (0..1_500).map(|number| format!("a/{number:08}")).collect();
    put_all(store, &all).await;
    let first = store.list("a/", None).await.unwrap();
    let last = first.last().unwrap();
    // Between two pages: one behind the first page, one before it.
    store.put_new(&key("a/00001200-new"), sealed("x")).await.unwrap();
    store.put_new(&key("a/00000500-new"), sealed("x")).await.unwrap();
    store.delete(&key("a/00001100")).await.unwrap();
    let second = store.list("a/", Some(last)).await.unwrap();
    assert!(second.contains(&key("a/00001200-new")), "put before this page was asked for");
    assert!(!second.contains(&key("a/00001100")), "deleted before this page was asked for");
    assert_eq!(second.len(), 500);
}

async fn what_was_deleted_stays_gone(store: &dyn Store) {
    let name = key("a/1");
    store.put_new(&name, sealed("x")).await.unwrap();
    store.put_new(&key("a/2"), sealed("y")).await.unwrap();
    for _ in 0..2 {
        store.delete(&name).await.unwrap();
        assert_eq!(store.get(&name, Part::Whole).await.unwrap_err().kind, StoreErrorKind::Missing);
        assert_eq!(names(&store.list("", None).await.unwrap()), ["a/2"]);
    }
    store.delete(&key("never/was")).await.unwrap();
    assert_eq!(store.put_new(&name, sealed("z")).await.unwrap(), PutNew::Created, "the name is free again");
}

async fn our_own_object_is_told_from_a_rivals(store: &dyn Store) {
    let (ours, theirs) = (sealed("our salt, our rows"), sealed("their salt, their rows"));
    assert_eq!(put_own(store, &key("a"), &ours).await.unwrap(), Put::Ours);
    assert_eq!(put_own(store, &key("a"), &ours).await.unwrap(), Put::Ours, "our own earlier put");
    assert_eq!(put_own(store, &key("a"), &theirs).await.unwrap(), Put::Taken(ours));
}

async fn the_probe_finds_it_sound(store: &dyn Store) {
    for seed in 0..5 {
        let report = probe_refuses_overwrite(store, &SeededEntropy::new(seed)).await.unwrap();
        assert_eq!(report.verdict, Verdict::Sound);
        assert!(report.left_behind.is_none());
    }
    assert_eq!(store.list("", None).await.unwrap(), [], "the probe cleans up");
}
