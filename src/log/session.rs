//! The record of the last session that a log holds: which server and which history it continues.

use bytes::Bytes;

use crate::codec::segment::ObjectKind;
use crate::log::env::LogEnv;
use crate::log::error::LogError;
use crate::log::history::History;
use crate::log::reader::Reader;
use crate::model::{Kind, SourceName};

/// The record of the last session; `None` if the log holds none. It stands first behind its fence.
pub async fn last_session(env: &LogEnv, source: &SourceName, history: &History) -> Result<Option<Bytes>, LogError> {
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
                    return Ok(Some(session.wire));
                }
            }
        }
    }
    Ok(None)
}
