//! Whether a database can be captured and restored: one finding a line, each with what to do, before there is trouble.
//!
//! What prevents exactness is a failure, what a person should know is a warning. What could not be asked is neither: it
//! is told as that (L11), and never taken for fine.

mod capture;
mod contents;
mod server;

use crate::clock::Clock;
use crate::connect::{ConnectError, ConnectTarget, Mode, Row, Session};
use crate::model::{Lsn, SourceName};
use crate::source::postgres::init::IdentityRule;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Capture works; a person should know this.
    Warning,
    /// It could not be asked.
    Unknown,
    /// Capture or restore would not work, or not be exact.
    Failure,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at, in a word or two; the same in every version.
    pub name: &'static str,
    /// How bad it is.
    pub verdict: Verdict,
    /// What was found.
    pub what: String,
    /// What to do; empty if nothing is.
    pub remedy: String,
}

impl Finding {
    fn ok(name: &'static str, what: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Ok, what: what.into(), remedy: String::new() }
    }

    fn warning(name: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Warning, what: what.into(), remedy: remedy.into() }
    }

    fn failure(name: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Failure, what: what.into(), remedy: remedy.into() }
    }

    fn unknown(name: &'static str, error: &ConnectError) -> Self {
        let causes = [Some(error.to_string()), error.server().map(ToString::to_string)];
        let what = causes.into_iter().flatten().collect::<Vec<_>>().join(": ");
        Self { name, verdict: Verdict::Unknown, what, remedy: "see to that, then check again".to_owned() }
    }
}

/// What is to be checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckPlan {
    /// The source, which names the slot.
    pub source: SourceName,
    /// What the configuration says about tables without identity.
    pub identity: IdentityRule,
    /// The last durable position of the log, if there is a log.
    pub durable: Option<Lsn>,
}

/// Looks at everything, as the role that captures. A check that cannot be made is a finding like any other.
pub async fn check_source(target: &ConnectTarget, clock: &dyn Clock, plan: &CheckPlan) -> Vec<Finding> {
    let mut session = match Session::connect(target, Mode::Sql, clock, &[]).await {
        Ok(session) => session,
        Err(error) => {
            // A server that says no has told us; one that is silent has not.
            let verdict = if error.server().is_some() { Verdict::Failure } else { Verdict::Unknown };
            let said = error.server().map(|said| format!(": {said}")).unwrap_or_default();
            let remedy = "see to that, then check again; nothing else could be asked".to_owned();
            return vec![Finding { name: "connection", verdict, what: format!("{error}{said}"), remedy }];
        }
    };
    let version = session.parameter("server_version").unwrap_or("?").to_owned();
    let mut found = vec![Finding::ok("connection", format!("{target}, PostgreSQL {version}"))];
    found.push(server::versions(&session).await);
    found.push(server::globals(&session).await);
    found.extend(or_unknown("server settings", server::settings(&mut session).await));
    found.extend(or_unknown("rights", server::rights(&mut session).await));
    found.push(server::replication(target, clock).await);
    found.extend(or_unknown("room", server::room(&mut session, plan).await));
    found.extend(or_unknown("network", server::network(&mut session).await));
    found.extend(or_unknown("clock", server::clock(&mut session, clock).await));
    found.extend(or_unknown("open transactions", server::open_transactions(&mut session).await));
    found.extend(or_unknown("slot", capture::slot(&mut session, plan).await));
    found.extend(or_unknown("publications", capture::publications(&mut session, plan).await));
    found.extend(or_unknown("event triggers", capture::triggers(&mut session, plan).await));
    found.extend(or_unknown("replica identity", capture::identities(&mut session, plan).await));
    found.extend(or_unknown("contents", contents::notes(&mut session).await));
    found.push(contents::exceptions(plan));
    session.close().await;
    found
}

fn or_unknown(name: &'static str, found: Result<Vec<Finding>, ConnectError>) -> Vec<Finding> {
    found.unwrap_or_else(|error| vec![Finding::unknown(name, &error)])
}

/// The rows of a single statement.
async fn rows(session: &mut Session, sql: &str) -> Result<Vec<Row>, ConnectError> {
    Ok(session.simple(sql).await?.into_iter().flatten().collect())
}
