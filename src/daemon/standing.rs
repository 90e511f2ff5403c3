//! What the log says of its server as a life begins: whose it is, and how it ends.

use crate::daemon::lastserver::LastServer;
use crate::log::session::last_session;
use crate::log::tail::{Tail, tail};
use crate::log::{History, LogEnv, LogError};
use crate::model::{Lsn, SourceName};
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

    /// How the log ends behind `from`, where the stream begins. It is before the end of the log where the last
    /// acknowledgement was lost, and where the server was put back.
    pub async fn tail(self, mut history: History, held: &Held, from: Lsn) -> Result<Tail, LogError> {
        if from >= held.durable {
            return Ok(Tail::Quiet);
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
