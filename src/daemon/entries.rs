//! The catalog's entries over the control socket: a verb asks page by page, and the daemon answers each.
//!
//! ```text
//!   { "verb": "entries", "source": "main", "from": 4097 }     from that slot on
//!   { "entries": "<entries as log/entry.rs draws them, in hex>" }      a page at most; "" where they end
//! ```
//! L8: neither end holds more of an answer than a page. What is told may be older than the store, as the catalog may be:
//! whoever asks has the log confirm it.

use std::path::Path;

use serde_json::{Value, json};

use crate::codec::wire::{Reader, WireError};
use crate::daemon::control::{self, ControlError, Refused};
use crate::daemon::keeper::Keeper;
use crate::log::Entry;
use crate::model::{Slot, SourceName};

/// The verb that a daemon knows it by.
pub const VERB: &str = "entries";

/// The daemon's end: a page of what it keeps.
pub async fn answer(keeper: &Keeper, request: &Value) -> Result<Value, Refused> {
    let source = request.get("source").and_then(|source| source.as_str()?.parse::<SourceName>().ok());
    let from = request.get("from").and_then(Value::as_u64);
    let (Some(source), Some(from)) = (source, from) else {
        return Err(Refused { sentence: "entries of which source, from which slot on?".to_owned(), exit: 1 });
    };
    Ok(encode(&keeper.page(&source, Slot::new(from)).await))
}

/// The verb's end: everything that the daemon of a state folder keeps of a log; `None` if none runs there.
pub async fn ask(state_dir: &Path, source: &SourceName) -> Result<Option<Vec<Entry>>, ControlError> {
    let mut entries = Vec::<Entry>::new();
    loop {
        let from = entries.last().map_or(Slot::NONE, |last| last.slot.next());
        let request = json!({ "verb": VERB, "source": source.as_str(), "from": from.get() });
        let Some(answer) = control::ask(state_dir, &request).await? else { return Ok(None) };
        let page = decode(&answer).filter(|page| page.iter().all(|entry| entry.slot >= from));
        let Some(page) = page else { return Err(ControlError::NoAnswer { path: control::path(state_dir) }) };
        if page.is_empty() {
            return Ok(Some(entries));
        }
        entries.extend(page);
    }
}

fn encode(page: &[Entry]) -> Value {
    let mut bytes = Vec::new();
    for entry in page {
        entry.encode(&mut bytes);
    }
    json!({ "entries": hex::encode(bytes) })
}

fn decode(answer: &Value) -> Option<Vec<Entry>> {
    let bytes = hex::decode(answer.get("entries")?.as_str()?).ok()?;
    let mut reader = Reader::new(&bytes);
    let page = std::iter::from_fn(|| (!reader.is_empty()).then(|| Entry::decode(&mut reader)));
    page.collect::<Result<_, WireError>>().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Catalog, MemoryIndex};
    use crate::clock::SystemClock;
    use crate::daemon::control::{Control, Handlers};
    use crate::log::History;
    use crate::log::fixture::{Fixture, main_source};
    use proptest::prelude::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use tokio::task::JoinSet;

    #[tokio::test]
    async fn a_page_comes_back_and_a_cut_one_is_none() {
        let fixture = Fixture::with_a_log(51).await;
        let page = History::load(&fixture.env, &main_source()).await.unwrap().entries;
        let answer = encode(&page);
        assert_eq!(decode(&answer), Some(page));
        assert_eq!(decode(&encode(&[])), Some(Vec::new()));
        let text = answer["entries"].as_str().unwrap();
        let whole = text.len() / 7;
        for cut in (0..text.len()).filter(|cut| cut % whole != 0) {
            assert_eq!(decode(&json!({ "entries": text[..cut] })), None, "cut at {cut}");
        }
    }

    #[tokio::test]
    async fn l8_a_long_log_comes_page_by_page_and_whole() {
        let one = Fixture::with_a_log(52).await.entry(2).await;
        let all: Vec<_> = (1..=9000).map(|slot| Entry { slot: Slot::new(slot), ..one.clone() }).collect();
        let catalog = Arc::new(Catalog::new(Box::<MemoryIndex>::default()));
        catalog.replace(&main_source(), &all).unwrap();
        assert_eq!(catalog.entries(&main_source()).unwrap(), all);
        let pages = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&pages);
        let page = move |request: Value| {
            counted.fetch_add(1, Ordering::Relaxed);
            let page = catalog.page(&main_source(), Slot::new(request["from"].as_u64().unwrap())).unwrap();
            async move { Ok(encode(&page)) }
        };
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(ask(folder.path(), &main_source()).await.unwrap(), None, "no daemon");
        let mut serving = JoinSet::new();
        let handlers = Arc::new(Handlers::default().on(VERB, page));
        serving.spawn(Control::bind(folder.path()).unwrap().serve(handlers, Arc::new(SystemClock::new())));
        assert_eq!(ask(folder.path(), &main_source()).await.unwrap(), Some(all));
        assert_eq!(pages.load(Ordering::Relaxed), 4, "three pages, and the end");
        drop(serving);
    }

    proptest! {
        #[test]
        fn any_answer_is_a_page_or_none(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            if let Some(page) = decode(&json!({ "entries": hex::encode(&bytes) })) {
                prop_assert_eq!(page.len() * crate::log::entry::ENTRY_BYTES, bytes.len());
            }
            prop_assert_eq!(decode(&json!({ "entries": String::from_utf8_lossy(&bytes) })).unwrap_or_default(), vec![]);
        }
    }
}
