//! What the log says of its server as a life begins: whose it is, and how it ends.

use crate::codec::gap::Reason;
use crate::codec::segment::Flags;
use crate::daemon::lastserver::LastServer;
use crate::log::session::last_session;
use crate::log::tail::{Tail, tail};
use crate::log::{History, LogEnv, LogError, Reader};
use crate::model::{Lsn, SourceName, Timestamp};
use crate::source::postgres::slot::Held;
use crate::source::postgres::stream::Logged;

/// Where what the log says is read.
#[derive(Clone, Copy)]
pub struct Standing<'a> {
    /// The log's surroundings.
    pub env: &'a LogEnv,
    /// Whose log.
    pub source: &'a SourceName,
    /// Which server it was last, for a process that may not open the log.
    pub last_server: Option<&'a LastServer>,
    /// Whether the publications are those of the last session, as far as is known.
    pub same_publications: bool,
}

impl Standing<'_> {
    /// What the log says of the server that it is of; where its key is out of reach, what the state folder says.
    pub async fn logged(self, history: &History) -> Result<Logged, LogError> {
        let durable = history.last().map_or(Lsn::ZERO, |last| Lsn::from(last.to));
        let unknown = Logged { durable, ..Logged::default() };
        if !history.blind {
            match last_session(self.env, self.source, history).await {
                Ok(None) => return Ok(unknown),
                Ok(Some(session)) => {
                    return Logged::of(&session.wire, durable).map_err(|error| session.unreadable(error));
                }
                Err(error) if error.is_out_of_reach() => {}
                Err(error) => return Err(error),
            }
        }
        let kept = self.last_server.and_then(LastServer::recall);
        let kept = kept.and_then(|json| Logged::of(&json, durable).ok());
        if kept.is_none() && history.log.is_some() {
            let sentence = "this process may not open the log and has no file of the last server in state_dir";
            tracing::warn!(source = %self.source, "{sentence}: whether the server is the log's is not compared");
        }
        Ok(kept.unwrap_or(unknown))
    }

    /// Whether a slot was renewed since `then`, as the log tells it to a process that did not live to see it. A log that this
    /// process may not open tells nothing.
    pub async fn renewed_since(self, history: &History, then: Timestamp) -> Result<bool, LogError> {
        let Some(log) = history.log else { return Ok(false) };
        for entry in history.live().rev().take_while(|entry| entry.sealed_at > then) {
            if !entry.flags.has(Flags::HOLDS_GAP) {
                continue;
            }
            let mut reader = Reader::new(self.env, self.source, log, vec![entry.clone()]);
            match reader.next().await {
                Ok(segment) => {
                    let mut gaps = segment.into_iter().flat_map(|segment| segment.footer.gaps);
                    if gaps.any(|gap| matches!(gap.reason, Reason::SlotLost | Reason::SlotGivenUp)) {
                        return Ok(true);
                    }
                }
                Err(error) if error.is_out_of_reach() => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// How the log ends behind `from`, where the stream begins. It is before the end of the log where the last
    /// acknowledgement was lost, and where the server was put back.
    pub async fn tail(self, mut history: History, held: &Held, from: Lsn) -> Result<Tail, LogError> {
        if from >= held.durable {
            return Ok(Tail::Quiet);
        }
        if !self.same_publications {
            // What is sent again is chosen otherwise than it was, so that it ends otherwise proves nothing.
            return Ok(Tail::Unknown);
        }
        if history.last().is_none_or(|last| last.to != held.durable.position()) {
            // Somebody wrote between our first look and our fence.
            history = History::load(self.env, self.source).await?;
        }
        match tail(self.env, self.source, &history, from.position()).await {
            Ok(Tail::Unknown) => {}
            Err(error) if error.is_out_of_reach() => {}
            other => return other,
        }
        let sentence = "this process cannot read how the log ends";
        tracing::warn!(source = %self.source, "{sentence}: whether the server was put back is not compared");
        Ok(Tail::Unknown)
    }
}
