//! The record of a session: which server a stretch of a log was captured from, and where its stream began.
//!
//! ```text
//!  {"database":"shop","publications":["holdfast"],"server_version":150020,"slot":"holdfast_main",
//!   "start":"0/3000148","system_id":"7523446218947563214","timeline":1}
//! ```
//! JSON, its names in the order of the alphabet. `system_id` is a text, since many readers keep only 53 bits of a number.
//! A record that tells nothing but the server has the last two names; the oldest lack `publications`. Names that come
//! later are passed over. The bytes are those of `tests/golden/v1/session.json`.

use serde::{Deserialize, Serialize};

use crate::codec::text;
use crate::codec::wire::WireError;
use crate::model::Lsn;

const FOREIGN: WireError = WireError::Foreign { what: "the record of a session" };

/// What a session says of itself, first behind the fence of its reign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// The database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// The publications that it was read from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publications: Option<Vec<String>>,
    /// `server_version_num`, 150020 for 15.20.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_version: Option<u32>,
    /// The replication slot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<String>,
    /// Where the stream began; see [`SessionRecord::began`].
    #[serde(default, with = "text::option", skip_serializing_if = "Option::is_none")]
    pub start: Option<Lsn>,
    /// The cluster.
    #[serde(with = "text")]
    pub system_id: u64,
    /// The timeline that it was on.
    pub timeline: u32,
}

impl SessionRecord {
    /// The record that tells nothing but the server.
    pub const fn of_server(system_id: u64, timeline: u32) -> Self {
        Self { database: None, publications: None, server_version: None, slot: None, start: None, system_id, timeline }
    }

    /// The record's text.
    pub fn encode(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers are JSON")
    }

    /// Reads a record. One that cannot be read is an error: taken for one that says nothing, it would let another server's
    /// history be glued on (L3).
    pub fn decode(json: &[u8]) -> Result<Self, WireError> {
        serde_json::from_slice(json).map_err(|_| FOREIGN)
    }

    /// Where the stream began. A record that does not say is an error: with a guess in its place a gap could seem to end
    /// before it does (L3).
    pub fn began(&self) -> Result<Lsn, WireError> {
        self.start.ok_or(FOREIGN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record() -> impl Strategy<Value = SessionRecord> {
        let text = || proptest::option::of(".{0,12}");
        let names = proptest::option::of(proptest::collection::vec(".{0,12}", 0..3));
        let numbers = (any::<Option<u32>>(), any::<Option<u64>>(), any::<u64>(), any::<u32>());
        (text(), names, text(), numbers).prop_map(|(database, publications, slot, numbers)| {
            let (server_version, start, system_id, timeline) = numbers;
            let start = start.map(Lsn::new);
            SessionRecord { database, publications, server_version, slot, start, system_id, timeline }
        })
    }

    proptest! {
        #[test]
        fn a_record_is_read_as_it_was_written_and_cut_nowhere(record in record()) {
            let text = record.encode();
            prop_assert_eq!(SessionRecord::decode(text.as_bytes()), Ok(record));
            for end in 0..text.len() {
                prop_assert!(SessionRecord::decode(&text.as_bytes()[..end]).is_err());
            }
        }

        #[test]
        fn a_flipped_bit_and_any_bytes_are_a_record_or_an_error(record in record(), bit: prop::sample::Index, any: Vec<u8>) {
            let mut bytes = record.encode().into_bytes();
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            for bytes in [bytes, any] {
                if let Ok(read) = SessionRecord::decode(&bytes) {
                    prop_assert_eq!(SessionRecord::decode(read.encode().as_bytes()), Ok(read));
                }
            }
        }
    }

    #[test]
    fn l3_a_sessions_record_that_cannot_be_read_is_an_error_and_not_an_unknown_server() {
        #[rustfmt::skip]
        let cases = [
            // record                                              read                    why
            (r#"{"system_id":"9","timeline":3,"new":true}"#,       Some((9, 3)),           "names that come later"),
            ("",                                                   None,                   "nothing"),
            ("session",                                            None,                   "no JSON"),
            (r#"{"timeline":3}"#,                                  None,                   "no server"),
            (r#"{"system_id":"x","timeline":3}"#,                  None,                   "a server that is none"),
            (r#"{"system_id":"9","timeline":4294967296}"#,         None,                   "a timeline that is none"),
        ];
        for (record, read, why) in cases {
            let said = SessionRecord::decode(record.as_bytes());
            assert_eq!(said.map(|said| (said.system_id, said.timeline)), read.ok_or(FOREIGN), "{why}");
        }
        let publications = |record: &str| SessionRecord::decode(record.as_bytes()).unwrap().publications;
        let reads = r#"{"system_id":"9","timeline":3,"publications":["a","b"]}"#;
        assert_eq!(publications(reads), Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(publications(r#"{"system_id":"9","timeline":3}"#), None, "an older record does not say");
    }

    #[test]
    fn l3_where_a_stream_began_is_said_or_an_error() {
        #[rustfmt::skip]
        let cases = [
            // start                       began                          why
            (r#","start":"0/3000148""#,    Ok(Lsn::new(0x300_0148)),      "it says so"),
            ("",                           Err(FOREIGN),                  "it does not say"),
            (r#","start":"somewhere""#,    Err(FOREIGN),                  "no position"),
            (r#","start":7"#,              Err(FOREIGN),                  "a number of what?"),
        ];
        for (start, began, why) in cases {
            let record = format!(r#"{{"system_id":"9","timeline":3{start}}}"#);
            let said = SessionRecord::decode(record.as_bytes()).and_then(|record| record.began());
            assert_eq!(said, began, "{why}");
        }
    }
}
