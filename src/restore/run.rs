//! Carries out a plan: base, log, the rest of the schema, sequences; then compares, and only then calls it complete.
//!
//! ```text
//!  target empty? ─▶ marked ─▶ schema ─▶ rows ─▶ keys ─▶ log ─▶ indexes … ─▶ sequences ─▶ compare ─▶ unmarked
//! ```
//! * L4: every object is proved before a byte of it is used; what does not add up ends the restore.
//! * L11: whatever ends it leaves the target marked incomplete, and a second restore into it is refused.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::apply::postgres::{Applied, Transaction, WindowRule};
use crate::codec::base::{Content, Manifest};
use crate::connect::{ConnectTarget, Session};
use crate::log::LogEnv;
use crate::model::{Lsn, SourceName, Tick};
use crate::restore::bases::{self, PartReader};
use crate::restore::compare::{self, Compared};
use crate::restore::database::{Door, create_roles};
use crate::restore::error::RestoreError;
use crate::restore::finish;
use crate::restore::load::Load;
use crate::restore::plan::{GapRule, Plan};
use crate::restore::progress::{Phase, RestoreProgress};
use crate::restore::replay;
use crate::restore::schema::{self, Choice, PostData, Roles};

/// What to restore, where, and how.
#[derive(Clone, Debug)]
pub struct RestoreOrder {
    /// The way from the base to the stop.
    pub plan: Plan,
    /// The database that is to be restored; it is made if it is missing.
    pub target: ConnectTarget,
    /// What happens to roles.
    pub roles: Roles,
    /// Sessions that load at once.
    pub jobs: usize,
    /// These tables alone, by name or by schema and name; none means all.
    pub only: Vec<String>,
    /// How much of the log is applied at once.
    pub window: WindowRule,
}

/// A point of the source's history, for the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Point {
    /// Where it ends.
    pub position: String,
    /// The transaction.
    pub xid: u64,
    /// When it committed.
    pub time: String,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RestoreReport {
    /// Whose history.
    pub source: String,
    /// What was asked for.
    pub asked: String,
    /// The database that was restored.
    pub database: String,
    /// The base.
    pub base: String,
    /// Where it stands.
    pub base_point: String,
    /// Everything up to here is in.
    pub reached: String,
    /// The last transaction that is in, if it is known.
    pub last_included: Option<Point>,
    /// The first one that is out, if there is one.
    pub first_excluded: Option<Point>,
    /// How many that are out have a time not after the target's, as far as was looked.
    pub excluded_not_after: u64,
    /// Segments that were read.
    pub segments: usize,
    /// Bytes that were fetched.
    pub bytes: u64,
    /// Rows of the base.
    pub base_rows: u64,
    /// Transactions that were applied.
    pub transactions: u64,
    /// Changes of rows that were applied.
    pub changes: u64,
    /// Seconds of each phase.
    pub phases: Vec<(Phase, f64)>,
    /// Seconds altogether.
    pub seconds: f64,
    /// The tables.
    pub tables: Vec<Compared>,
    /// Tables that are not exact, by schema and name.
    pub inexact: Vec<String>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// What a phase of a restore needs.
struct Run<'a> {
    env: &'a LogEnv,
    order: &'a RestoreOrder,
    manifest: Manifest,
    wanted: Vec<usize>,
    progress: &'a dyn RestoreProgress,
    begun: Tick,
    phases: Vec<(Phase, Tick)>,
    warnings: Vec<String>,
}

/// Restores.
pub async fn restore(
    env: &LogEnv,
    order: &RestoreOrder,
    progress: &dyn RestoreProgress,
) -> Result<RestoreReport, RestoreError> {
    let (plan, begun) = (&order.plan, env.clock.tick());
    let manifest = bases::read(env, &plan.source, plan.base).await?;
    let manifest = manifest.ok_or_else(|| gone(&plan.source, plan))?;
    let wanted = choose(&manifest, &order.only)?;
    let warnings = plan.warnings.iter().chain(&manifest.warnings).cloned().collect();
    let mut run = Run { env, order, manifest, wanted, progress, begun, phases: Vec::new(), warnings };
    let (rows, applied, tables) = Box::pin(run.everything()).await?;
    Ok(run.report(rows, &applied, tables))
}

fn gone(source: &SourceName, plan: &Plan) -> RestoreError {
    crate::log::LogError::Missing { key: crate::store::layout::manifest(source, plan.base) }.into()
}

/// The tables that are wanted, by index.
fn choose(manifest: &Manifest, only: &[String]) -> Result<Vec<usize>, RestoreError> {
    let mut wanted = Vec::new();
    for name in only {
        let before = wanted.len();
        for (index, table) in manifest.tables.iter().enumerate() {
            if *name == table.name || *name == format!("{}.{}", table.schema, table.name) {
                wanted.push(index);
            }
        }
        if wanted.len() == before {
            return Err(RestoreError::NoSuchTable { table: name.clone() });
        }
    }
    if only.is_empty() {
        wanted = (0..manifest.tables.len()).collect();
    }
    wanted.sort_unstable();
    wanted.dedup();
    Ok(wanted)
}

impl Run<'_> {
    fn door(&self) -> Door<'_> {
        Door { target: &self.order.target, clock: &*self.env.clock }
    }

    fn phase(&mut self, phase: Phase, total: usize) {
        self.phases.push((phase, self.env.clock.tick()));
        self.progress.phase(phase, u64::try_from(total).unwrap_or(u64::MAX));
    }

    async fn everything(&mut self) -> Result<(u64, Applied, Vec<Compared>), RestoreError> {
        self.phase(Phase::Schema, 0);
        let pre = self.text(Content::PreData).await?;
        let post = self.post_data().await?;
        let mut session = self.door().prepare(&self.manifest.database, &self.order.plan).await?;
        self.create_schema(&mut session, &pre).await?;
        self.phase(Phase::Rows, self.row_bytes());
        let (jobs, progress) = (self.order.jobs.max(1), self.progress);
        let load = Load { env: self.env, manifest: &self.manifest, door: self.door(), jobs, progress };
        let rows = load.run(&self.wanted).await?;
        self.phase(Phase::Keys, post.keys.len());
        finish::create_all(self.door(), &post.keys, (jobs, GapRule::Refuse), progress).await?;
        let applied = self.replay().await?;
        self.tell_of_misses(&applied);
        self.phase(Phase::Indexes, post.indexes.len() + post.constraints.len() + post.rest.len());
        self.finish_schema(&mut session, &post).await?;
        self.phase(Phase::Sequences, self.manifest.sequences.len());
        let alone = finish::set_sequences(&mut session, &self.manifest).await?;
        if applied.transactions > 0 && !alone.is_empty() {
            let what = format!("sequences that serve no column stand where the base has them: {}", alone.join(", "));
            self.warnings.push(what);
        }
        let tables = self.manifest.tables.iter();
        finish::give_identities_back(&mut session, tables, &mut self.warnings).await?;
        session.simple("ANALYZE").await.map_err(RestoreError::session("gather statistics"))?;
        self.phase(Phase::Compare, self.wanted.len());
        let compared = compare::run(self.door(), &self.manifest, &self.wanted, (&applied, jobs), progress).await?;
        finish::unmark(&mut session, &post.event_triggers, &mut self.warnings).await?;
        session.close().await;
        Ok((rows, applied, compared))
    }

    async fn post_data(&mut self) -> Result<PostData, RestoreError> {
        let text = self.text(Content::PostData).await?;
        let tables: Vec<_> = self.wanted.iter().filter_map(|index| self.manifest.tables.get(*index)).collect();
        let choice = if self.order.only.is_empty() { Choice::All } else { Choice::Only(&tables) };
        let base = self.manifest.base;
        let post = schema::post_data(&text, &self.manifest, choice, self.order.roles);
        let post = post.map_err(|source| RestoreError::Schema { base, source })?;
        if !self.order.only.is_empty() {
            let what =
                "only some tables were asked for: the others are empty, and there are no foreign keys and triggers";
            self.warnings.push(what.to_owned());
        }
        self.warnings.extend(post.left_out.iter().map(|what| format!("left out: {what}")));
        Ok(post)
    }

    async fn create_schema(&mut self, session: &mut Session, pre: &str) -> Result<(), RestoreError> {
        if self.order.roles == Roles::Create {
            let globals = self.text(Content::Globals).await?;
            for role in create_roles(session, &globals).await? {
                self.warnings.push(format!("role {role} was created without login and without a password"));
            }
        }
        let base = self.manifest.base;
        let (items, left_out) =
            schema::pre_data(pre, self.order.roles).map_err(|source| RestoreError::Schema { base, source })?;
        self.warnings.extend(left_out.into_iter().map(|what| format!("left out: {what}")));
        for item in &items {
            finish::create(session, item, &mut self.warnings).await?;
        }
        Ok(())
    }

    async fn replay(&mut self) -> Result<Applied, RestoreError> {
        self.phase(Phase::Log, self.order.plan.segments.len());
        let mut session = self.door().open().await?;
        // Triggers and rules come later; the role matters where an extension brought some with it.
        if session.simple("SET session_replication_role = replica").await.is_err() {
            self.warnings
                .push("the target's role may not replay as a replica: triggers of extensions fired".to_owned());
        }
        let what = (&self.manifest, self.wanted.as_slice());
        replay::run(self.env, self.order, what, session, self.progress).await
    }

    fn tell_of_misses(&mut self, applied: &Applied) {
        for table in &self.manifest.tables {
            if let Some(changes) = applied.missed.get(&table.relid) {
                let table = format!("{}.{}", table.schema, table.name);
                self.warnings
                    .push(format!("{changes} changes of table {table} did not find their rows: a gap holds them"));
            }
        }
    }

    async fn finish_schema(&mut self, session: &mut Session, post: &PostData) -> Result<(), RestoreError> {
        let (jobs, across) = (self.order.jobs.max(1), self.order.plan.across);
        for items in [&post.indexes, &post.constraints] {
            let left_out = finish::create_all(self.door(), items, (jobs, across), self.progress).await?;
            self.warnings.extend(left_out);
        }
        for item in &post.rest {
            match finish::create(session, item, &mut self.warnings).await {
                Err(error) if across == GapRule::Allow && error.is_about_rows() => {
                    self.warnings.push(finish::left_out(item));
                }
                other => other?,
            }
            self.progress.advance(1);
        }
        Ok(())
    }

    /// The text of all parts of a kind.
    async fn text(&self, content: Content) -> Result<String, RestoreError> {
        let mut text = Vec::new();
        for part in self.manifest.parts.iter().filter(|part| part.content == content) {
            text.extend(PartReader::open(self.env, &self.manifest, part).await?.rest()?);
        }
        let base = self.manifest.base;
        String::from_utf8(text).map_err(|_| RestoreError::Base {
            base,
            source: crate::codec::base::BaseError::Broken {
                base: base.to_string(),
                what: "its schema text is not UTF-8".to_owned(),
            },
        })
    }

    fn row_bytes(&self) -> usize {
        let rows = |content: &Content| match content {
            Content::Rows { table, .. } => usize::try_from(*table).is_ok_and(|table| self.wanted.contains(&table)),
            Content::Globals | Content::PreData | Content::PostData | Content::Stale => false,
        };
        let bytes = self.manifest.parts.iter().filter(|part| rows(&part.content)).map(|part| part.bytes).sum::<u64>();
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    fn report(self, base_rows: u64, applied: &Applied, tables: Vec<Compared>) -> RestoreReport {
        let plan = &self.order.plan;
        let now = self.env.clock.tick();
        let ends = self.phases.iter().skip(1).map(|(_, begun)| *begun).chain([now]);
        let phases = self.phases.iter().zip(ends);
        let changes = applied.counts.values().map(|c| c.inserts + c.updates + c.deletes + c.truncates).sum();
        RestoreReport {
            source: plan.source.to_string(),
            asked: plan.asked.to_string(),
            database: self.order.target.database().to_owned(),
            base: plan.base.to_string(),
            base_point: plan.point.to_string(),
            reached: Lsn::from(plan.stop.position.max(plan.point.position())).to_string(),
            last_included: applied.last.or(plan.stop.last).map(point),
            first_excluded: plan.stop.excluded.map(point),
            excluded_not_after: plan.stop.excluded_not_after,
            segments: plan.segments.len(),
            bytes: plan.bytes,
            base_rows,
            transactions: applied.transactions,
            changes,
            phases: phases.map(|((phase, begun), end)| (*phase, end.since(*begun).as_secs_f64())).collect(),
            seconds: now.since(self.begun).as_secs_f64(),
            tables,
            inexact: self.inexact(applied),
            warnings: self.warnings,
        }
    }

    /// Tables of which the plan knew, and those whose changes did not find their rows.
    fn inexact(&self, applied: &Applied) -> Vec<String> {
        let missed = self.manifest.tables.iter().filter(|table| applied.missed.contains_key(&table.relid));
        let missed = missed.map(|table| format!("{}.{}", table.schema, table.name));
        let all: BTreeSet<_> = self.order.plan.inexact.iter().cloned().chain(missed).collect();
        all.into_iter().collect()
    }
}

fn point(transaction: Transaction) -> Point {
    Point {
        position: Lsn::from(transaction.position).to_string(),
        xid: transaction.xid.get(),
        time: transaction.time.to_string(),
    }
}
