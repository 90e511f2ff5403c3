//! A base: a full copy of a database at an exact position, taken while everything runs.
//!
//! ```text
//!  temporary slot ──▶ consistent point C and a snapshot that holds every commit before C and none from there on
//!        │
//!        ├─▶ survey: tables, columns, identities, sequences           all in the one snapshot
//!        ├─▶ pg_dump: pre-data, post-data; pg_dumpall: globals        piped, never on disk
//!        └─▶ COPY by several workers, large tables in ranges of ctid
//!                 └──▶ parts: packed, sealed, put ──▶ the manifest, last
//! ```
//! A table that is emptied before it was read is read again in a later snapshot.
//! A base without a manifest is none; its parts are left-overs that [`sweep`] removes. `pg_dump` reads the newest catalog
//! beside the snapshot, so a base during which the schema changed is thrown away and taken again.

mod again;
mod claim;
mod dump;
mod error;
mod parts;
mod rows;
mod schema;
mod survey;
pub mod sweep;
mod way;

pub(crate) use dump::Tools;
pub use error::BaseTakeError;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::timeout;
use crate::codec::base::{Content, FORMAT, Manifest, Part, Server};
use crate::codec::session::SessionRecord;
use crate::connect::{ConnectTarget, Mode, Session, SlotLife, SlotSnapshot};
use crate::entropy::draw;
use crate::log::session::last_session;
use crate::log::{History, LogEnv};
use crate::model::{BaseId, LogId, Lsn, SourceName};
use crate::source::postgres::base::again::Stand;
use crate::source::postgres::base::claim::Claim;
use crate::source::postgres::base::parts::Parts;
use crate::source::postgres::base::survey::Survey;
use crate::source::postgres::names;

/// How long the snapshot may take to be made: it waits for every writing transaction of the cluster.
const SNAPSHOT_WITHIN: Duration = Duration::from_mins(1);
/// How often a base is begun anew because the schema changed under it.
const TRIES: u32 = 5;

/// What a base is to be taken of.
#[derive(Clone, Debug)]
pub struct BaseOrder {
    /// Which source.
    pub source: SourceName,
    /// Where it is.
    pub target: ConnectTarget,
    /// Connections that copy at once.
    pub jobs: usize,
    /// The log that goes on from it.
    pub log: Option<LogId>,
    /// The server that the newest base is of, if there is one.
    pub system_id: Option<u64>,
    /// The folder where those who take bases say so; without one what a broken base leaves is swept after a day.
    pub claims: Option<PathBuf>,
}

impl BaseOrder {
    /// Claims the base. Without a claim it is taken all the same.
    fn claim(&self, base: BaseId) -> Option<Claim> {
        let made = Claim::make(self.claims.as_ref()?, base);
        made.inspect_err(|error| tracing::warn!(source = %self.source, error = %error, "the base is not claimed")).ok()
    }
}

fn release(order: &BaseOrder, claim: Option<Claim>) {
    if let Some(Err(error)) = claim.map(Claim::release) {
        tracing::warn!(source = %order.source, error = %error, "the claim on the base stays");
    }
}

/// Who watches a base being taken. Returns at once, always.
pub trait BaseProgress: Send + Sync {
    /// So many bytes of tables, by the server's estimate.
    fn begins(&self, bytes: u64);
    /// So many more bytes were read.
    fn read(&self, bytes: u64);
}

/// Nobody watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProgress;

impl BaseProgress for NoProgress {
    fn begins(&self, _bytes: u64) {}

    fn read(&self, _bytes: u64) {}
}

/// Takes a base.
pub async fn take(
    env: &LogEnv,
    order: &BaseOrder,
    progress: &Arc<dyn BaseProgress>,
) -> Result<Manifest, BaseTakeError> {
    let mut tries = 1;
    loop {
        match attempt(env, order, progress).await {
            Err(error @ (BaseTakeError::SchemaChanged | BaseTakeError::Restless { .. })) if tries < TRIES => {
                tracing::info!(source = %order.source, %error, "the base is begun anew");
                tries += 1;
            }
            ended => return ended,
        }
    }
}

/// A snapshot that lives as long as its session, and where it stands.
struct Held {
    session: Session,
    point: Lsn,
    snapshot: String,
    server: Server,
}

async fn attempt(env: &LogEnv, order: &BaseOrder, progress: &Arc<dyn BaseProgress>) -> Result<Manifest, BaseTakeError> {
    let (before, _) = survey::fingerprint(&mut sql(env, order, &[]).await?).await?;
    // Before the snapshot: capture goes on meanwhile, and what is durable a moment later may lie behind the snapshot.
    let history = Stored::of(env, order).await;
    let mut held = hold_snapshot(env, order).await?;
    history.refuse_other_server(&held)?;
    let log = order.log.or(history.log);
    let base = BaseId::from_bytes(draw(&*env.entropy));
    let mut claim = order.claim(base);
    let mut survey = Survey::take(&mut in_snapshot(env, order, &held.snapshot).await?).await?;
    progress.begins(survey.bytes());
    let parts = Arc::new(Parts::begin(env, &order.source, base).await?);
    let taking = Taking { env, order, held: &held, parts: Arc::clone(&parts), progress: Arc::clone(progress) };
    let stand = copy_all(&taking, &mut survey, log).await;
    // When all had been read, by the source's clock: commit times, which it is compared with, are that one's too.
    let (changed, finished_at) = match survey::fingerprint(&mut sql(env, order, &[]).await?).await {
        Ok((now, at)) => (now != before, at),
        Err(_) if stand.is_err() => (false, survey.taken_at), // one cause is enough, and it is the first
        Err(error) => return Err(error),
    };
    if changed || stand.is_err() {
        // What could not be removed stays claimed, by nobody alive: the next sweep takes it.
        if sweep::forget(env, &order.source, base).await {
            release(order, claim.take());
        }
    }
    if changed {
        // Also where something failed: a table that is gone cannot be copied, a column that was renamed neither.
        return Err(BaseTakeError::SchemaChanged);
    }
    let begins = stand?.map(|stand| {
        (survey.taken_at, survey.sequences) = (stand.taken_at, stand.sequences);
        survey.warnings.push(again::warning(held.point));
        std::mem::replace(&mut held.point, stand.point)
    });
    let mut written = parts.written();
    number_pieces(&mut written);
    let manifest = Manifest {
        format: FORMAT,
        base,
        log,
        source: order.source.clone(),
        point: held.point,
        begins,
        taken_at: survey.taken_at,
        finished_at,
        server: held.server.clone(),
        database: survey.database,
        parts: written,
        tables: survey.tables.into_iter().map(|table| table.described).collect(),
        sequences: survey.sequences,
        extensions: survey.extensions,
        passed_over: survey.passed_over,
        warnings: survey.warnings,
    };
    // Whoever dies from here on may have its manifest on the way: only age can tell.
    release(order, claim);
    parts::put_manifest(env, &parts, &manifest).await?;
    held.session.close().await;
    Ok(manifest)
}

/// What the store holds of a server before a base of it is taken.
struct Stored {
    log: Option<LogId>,
    durable: Lsn,
    /// Which server it is of, if that is known.
    system_id: Option<u64>,
}

impl Stored {
    /// Where the log cannot be read, the newest base alone tells.
    async fn of(env: &LogEnv, order: &BaseOrder) -> Self {
        let history = History::load(env, &order.source).await.unwrap_or_default();
        let session = last_session(env, &order.source, &history).await;
        let logged = match session.map(|session| session.map(|session| SessionRecord::decode(&session.wire))) {
            Ok(Some(Ok(record))) => Some(record.system_id),
            // What is wrong with a log is `verify`'s to say, and no reason not to take a new base.
            Ok(Some(Err(_)) | None) | Err(_) => None,
        };
        let durable = history.last().map_or(Lsn::ZERO, |last| Lsn::from(last.to));
        Self { log: history.log, durable, system_id: logged.or(order.system_id) }
    }

    /// Refuses a server that the history is not of: two sites pointed at one prefix, say, with one key. Restores would put
    /// rows of the one behind a base of the other (L4).
    fn refuse_other_server(&self, held: &Held) -> Result<(), BaseTakeError> {
        let (durable, point, theirs) = (self.durable, held.point, held.server.system_id);
        match self.system_id.filter(|ours| *ours != theirs) {
            Some(ours) => Err(BaseTakeError::OtherServer { ours, theirs }),
            // A copy has the same number, and a history of its own.
            None if point < durable => Err(BaseTakeError::Behind { durable, point }),
            None => Ok(()),
        }
    }
}

/// A base that is being taken.
struct Taking<'a> {
    env: &'a LogEnv,
    order: &'a BaseOrder,
    held: &'a Held,
    parts: Arc<Parts>,
    progress: Arc<dyn BaseProgress>,
}

impl Taking<'_> {
    /// The same in another snapshot.
    fn in_snapshot<'b>(&'b self, held: &'b Held) -> Taking<'b> {
        Taking {
            env: self.env,
            order: self.order,
            held,
            parts: Arc::clone(&self.parts),
            progress: Arc::clone(&self.progress),
        }
    }
}

/// Schema and rows side by side: the one waits for programs to start, the other for disks. Then what has to be read again,
/// where a log goes on; gives the place of that.
async fn copy_all(
    taking: &Taking<'_>,
    survey: &mut Survey,
    log: Option<LogId>,
) -> Result<Option<Stand>, BaseTakeError> {
    let all: BTreeSet<_> = (0..survey.tables.len()).collect();
    let (warning, gone) = futures::try_join!(schema::dump(taking), rows::copy(taking, survey, &all))?;
    survey.warnings.extend(warning);
    if gone.is_empty() || log.is_some() {
        again::read(taking, survey, gone).await
    } else {
        Err(again::restless(survey, &gone))
    }
}

/// Pieces of a table are numbered in the order of the parts.
fn number_pieces(parts: &mut [Part]) {
    let mut last = std::collections::BTreeMap::<u32, u32>::new();
    parts.sort_by_key(|part| part.number);
    for part in parts {
        if let Content::Rows { table, piece } = &mut part.content {
            let last = last.entry(*table).or_default();
            *last += 1;
            *piece = *last;
        }
    }
}

async fn hold_snapshot(env: &LogEnv, order: &BaseOrder) -> Result<Held, BaseTakeError> {
    let mut session = Session::connect(&order.target, Mode::Replication, &*env.clock, &[]).await?;
    let identity = session.identify_system().await?;
    let slot = names::base_slot(&order.source, session.pid());
    let cancel = session.cancel_token();
    let making = session.create_slot(&slot, SlotLife::Temporary, SlotSnapshot::Export);
    let made = timeout(&*env.clock, SNAPSHOT_WITHIN, making).await;
    let Ok(made) = made else {
        // Without it the server waits on, for nobody, and keeps its log meanwhile.
        cancel.cancel(&*env.clock).await?;
        return Err(blocked(env, order).await?);
    };
    let made = made?;
    let snapshot = made.snapshot.ok_or(BaseTakeError::NoSnapshot)?;
    let server = Server {
        version: session.version_num(),
        system_id: identity.system_id,
        timeline: identity.timeline,
        pg_dump: dump::Tools::find(session.version_num()).await?.version().to_owned(),
    };
    Ok(Held { session, point: made.consistent_point, snapshot, server })
}

/// Who keeps the snapshot from being made.
async fn blocked(env: &LogEnv, order: &BaseOrder) -> Result<BaseTakeError, BaseTakeError> {
    let mut session = sql(env, order, &[]).await?;
    let row = session.one_row(survey::OLDEST_WRITER).await?;
    Ok(BaseTakeError::Blocked {
        waited: SNAPSHOT_WITHIN,
        by: row.get(0).unwrap_or("an unknown transaction").to_owned(),
    })
}

async fn sql(env: &LogEnv, order: &BaseOrder, options: &[(&str, &str)]) -> Result<Session, BaseTakeError> {
    Ok(Session::connect(&order.target, Mode::Sql, &*env.clock, options).await?)
}

/// A session that sees exactly what the snapshot holds. Policies must not hide rows from it: it fails instead.
async fn in_snapshot(env: &LogEnv, order: &BaseOrder, snapshot: &str) -> Result<Session, BaseTakeError> {
    let options = [("row_security", "off"), ("statement_timeout", "0"), ("idle_in_transaction_session_timeout", "0")];
    let mut session = sql(env, order, &options).await?;
    let snapshot = crate::connect::quote_literal(snapshot);
    let begin = format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT {snapshot}");
    session.execute_batch(&begin).await?;
    Ok(session)
}
