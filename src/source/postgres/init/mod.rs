//! What `init` puts into a database so that it can be captured without harm (L12), and how it is taken out again.
//!
//! ```text
//!  schema, list of forced identities, functions ─▶ event triggers ─▶ (open writers end) ─▶ identities ─▶ publication
//!                                                                                          └─▶ rights ─▶ slot, last
//! ```
//! The order is the safety: once the triggers are there, no new table can lack an identity; once every older writer has
//! ended and every older table has an identity, a publication for all tables makes no UPDATE fail. With `identity =
//! leave` the publications come first, for the one publishes no updates, and the identities decide who is in the other.
//! Each statement asks first whether it is needed, so `init` may be killed anywhere and repeated.

mod identities;
mod remove;
mod stages;

pub use remove::remove;
pub(in crate::source::postgres) use stages::VERSION_MIN;
pub(in crate::source::postgres) use stages::fingerprint;

use crate::clock::Clock;
use crate::connect::{ConnectError, Session};
use crate::model::SourceName;
use crate::source::error::{SourceError, SourceErrorKind};
use crate::source::postgres::catalog::holds;
use crate::source::postgres::names;
use crate::source::postgres::patience::with_short_locks;
use crate::step::Step;

/// What to do about tables whose rows cannot be told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IdentityRule {
    /// Give them REPLICA IDENTITY FULL: all is captured, at the price of more write-ahead log.
    #[default]
    Full,
    /// Leave them alone: their updates and deletes are not captured.
    Leave,
}

/// What `init` should reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitPlan {
    /// The source, which names the slot.
    pub source: SourceName,
    /// What to do about tables without identity.
    pub identity: IdentityRule,
    /// The role that captures; it may be another than the one that initialises.
    pub role: String,
}

/// Whether to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// Only say what would be done.
    Dry,
    /// Do it.
    Do,
}

/// What `init` or its undoing did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InitReport {
    /// What was done, or with [`Run::Dry`] would be, in order.
    pub done: Vec<String>,
    /// What was there already.
    pub already: Vec<String>,
    /// What a person should know or do.
    pub warnings: Vec<String>,
}

/// Makes everything that capture needs, as a superuser over a plain session with the database. Safe to repeat.
pub async fn init(
    session: &mut Session,
    clock: &dyn Clock,
    plan: &InitPlan,
    run: Run,
) -> Result<InitReport, SourceError> {
    let mut work = Work { session, clock, run, report: InitReport::default(), said: false };
    work.fit(plan.identity).await?;
    work.schema().await?;
    work.functions(plan.identity).await?;
    work.triggers().await?;
    match plan.identity {
        IdentityRule::Full => {
            work.publish_everything().await?;
            work.keyed_is_gone().await?;
        }
        IdentityRule::Leave => {
            work.keyed_is_there().await?;
            work.publish_inserts().await?;
            work.put_identities_back(Voice::Aloud).await?;
            work.tend(plan.identity).await?;
            work.end_sessions().await?;
        }
    }
    work.rights(&plan.role).await?;
    work.slot(&plan.source).await?;
    Ok(work.report)
}

/// Does what `check` offers where `init` was before: functions and triggers, and the identity of every table. Without
/// the schema of `init` it does nothing, since it could not record what to put back.
pub async fn fix(
    session: &mut Session,
    clock: &dyn Clock,
    plan: &InitPlan,
    run: Run,
) -> Result<InitReport, SourceError> {
    let mut work = Work { session, clock, run, report: InitReport::default(), said: false };
    work.fit(plan.identity).await?;
    if !work.holds(&format!("select to_regclass('{}.forced_identity') is not null", names::SCHEMA)).await? {
        return Err(SourceErrorKind::NotInitialised { what: format!("schema {}", names::SCHEMA) }.when(DOING));
    }
    work.functions(plan.identity).await?;
    work.triggers().await?;
    work.tend(plan.identity).await?;
    Ok(work.report)
}

/// Whether an act of ours is told in the stream, as a change of schema that ends what is exact (L3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Voice {
    /// It changes nothing for who reads.
    Silent,
    /// It does.
    Aloud,
}

/// The work under way.
struct Work<'a> {
    session: &'a mut Session,
    clock: &'a dyn Clock,
    run: Run,
    report: InitReport,
    /// Whether anything was told in the stream.
    said: bool,
}

const DOING: &str = "initialising";

fn failed(error: ConnectError) -> SourceError {
    SourceErrorKind::from(error).when(DOING)
}

impl Work<'_> {
    /// Runs `sql` as one transaction unless the query `there` says that it is not needed.
    async fn ensure(&mut self, what: &str, there: &str, sql: &str) -> Result<(), SourceError> {
        if self.holds(there).await? {
            self.report.already.push(what.to_owned());
            return Ok(());
        }
        self.act(what, sql).await
    }

    /// Runs `sql` as one transaction, or says that it would.
    async fn act(&mut self, what: &str, sql: &str) -> Result<(), SourceError> {
        self.act_in(Voice::Silent, what, sql).await
    }

    /// The same, told or not told. A daemon that runs meanwhile reads what it was configured to read: where that becomes
    /// less, the message in the very transaction is what makes a gap of it.
    async fn act_in(&mut self, voice: Voice, what: &str, sql: &str) -> Result<(), SourceError> {
        if self.run == Run::Do {
            let said = match voice {
                Voice::Silent => String::new(),
                Voice::Aloud => format!(
                    "; select {}.say('ALTER PUBLICATION', '{{\"type\":\"publication\",\"identity\":\"{}\"}}', 1, false)",
                    names::SCHEMA,
                    names::PUBLICATION
                ),
            };
            self.said |= voice == Voice::Aloud;
            // What we do ourselves is no change of the user's schema: our triggers say nothing about it.
            let sql = format!("set local holdfast.tending = 'yes'; {sql}{said}");
            with_short_locks(self.session, self.clock, DOING, &sql).await?;
            Step::InitStatement.reached();
        }
        self.report.done.push(what.to_owned());
        Ok(())
    }

    async fn holds(&mut self, query: &str) -> Result<bool, SourceError> {
        holds(self.session, query).await.map_err(failed)
    }
}
