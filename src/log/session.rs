//! The record of the last session that a log holds: which server and which history it continues.

use bytes::Bytes;

use crate::codec::segment::ObjectKind;
use crate::codec::wire::WireError;
use crate::log::env::LogEnv;
use crate::log::error::{LogError, ObjectError};
use crate::log::history::History;
use crate::log::reader::Reader;
use crate::model::{Kind, ObjectKey, SourceName};
use crate::store::layout;

/// The record of a session, and the object that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastSession {
    /// The object.
    pub key: ObjectKey,
    /// The record's bytes; what they mean is the source's own.
    pub wire: Bytes,
}

impl LastSession {
    /// The error of a record that its source cannot read: damage, which names the object (L4).
    pub fn unreadable(self, error: WireError) -> LogError {
        ObjectError { key: self.key, kind: error.into() }.into()
    }
}

/// The record of the last session; `None` if the log holds none. It stands first behind its fence.
pub async fn last_session(
    env: &LogEnv,
    source: &SourceName,
    history: &History,
) -> Result<Option<LastSession>, LogError> {
    let Some(log) = history.log else { return Ok(None) };
    let live: Vec<_> = history.live().collect();
    let behind_fences = live.windows(2).rev().filter_map(|pair| match pair {
        [fence, first] if fence.kind == ObjectKind::Fence && first.kind != ObjectKind::Fence => Some(*first),
        _ => None,
    });
    for entry in behind_fences {
        let mut reader = Reader::new(env, source, log, vec![entry.clone()]);
        while let Some(mut segment) = reader.next().await? {
            while let Some(records) = segment.next_frame()? {
                if let Some(session) = records.into_iter().find(|record| record.kind == Kind::Session) {
                    let key = layout::segment(source, entry.slot);
                    return Ok(Some(LastSession { key, wire: session.wire }));
                }
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::fixture::{Fixture, main_source, transaction, write_segment};
    use crate::model::{Record, Slot};

    #[tokio::test]
    async fn l4_the_object_with_the_last_sessions_record_is_known_by_name() {
        let fixture = Fixture::new(71);
        for (number, said) in [(1, "first"), (2, "second")] {
            let session = Record::own(Kind::Session, Bytes::from_static(said.as_bytes()));
            let records = [vec![session], transaction(number)].concat();
            write_segment(&mut fixture.writer().await, &records).await;
        }
        let history = History::load(&fixture.env, &main_source()).await.unwrap();
        let last = last_session(&fixture.env, &main_source(), &history).await.unwrap().unwrap();
        let key = layout::segment(&main_source(), Slot::new(4));
        assert_eq!((&last.key, &last.wire[..]), (&key, &b"second"[..]));
        let error = last.unreadable(WireError::Foreign { what: "a test" });
        assert!(matches!(error, LogError::Object(error) if error.key == key));
    }
}
