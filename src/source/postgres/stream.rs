//! A PostgreSQL database as a source: connects, compares slot and log, and hands over what the stream brings.
//!
//! ```text
//!  server ──▶ ReplicationStream ──▶ intake ──▶ arrivals ──▶ the pipeline
//!     ▲                                                         │ acknowledge
//!     └── feedback, a task of its own ◀── watch ◀───────────────┘
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::clock::{Clock, timeout};
use crate::codec::session::SessionRecord;
use crate::codec::wire::WireError;
use crate::connect::{ConnectError, ConnectTarget, Event, Mode, Session, SystemIdentity};
use crate::log::tail::Tail;
use crate::model::{Kind, Lsn, Position, Record, SourceName};
use crate::source::postgres::feedback::{self, Told};
use crate::source::postgres::heartbeat::emit;
use crate::source::postgres::intake::{Intake, Shapes, push_gap};
use crate::source::postgres::names;
use crate::source::postgres::published;
use crate::source::postgres::reader::{Batch, SocketThread};
use crate::source::postgres::slot::{self, Found, Held, Old, Place, Renewal, Start};
use crate::source::{Arrival, Source, SourceError, SourceErrorKind};

/// Memory of the server for one transaction's changes before it spills to its disk.
const DECODING_WORK_MEM: &str = "1GB";
/// How long an orderly end of the stream may take.
const LEAVE_WITHIN: Duration = Duration::from_secs(3);

/// How a database is captured.
#[derive(Clone, Debug)]
pub struct PostgresSettings {
    /// The source's name.
    pub name: SourceName,
    /// Where it is.
    pub target: ConnectTarget,
    /// The publications whose changes are wanted.
    pub publications: Vec<String>,
    /// How often the log moves on while the source is idle.
    pub heartbeat: Duration,
}

/// What the log and the bases know when a session begins.
#[derive(Clone, Debug)]
pub struct Known {
    /// What the log holds.
    pub held: Held,
    /// How it ends behind the position from which the server sends again.
    pub tail: Tail,
    /// The tables of the last base.
    pub shapes: Shapes,
    /// Tables of extensions, which no base promises.
    pub passed_over: BTreeSet<u32>,
    /// Whether to say when everything that is there now has been handed over.
    pub drain: bool,
}

/// What the log says of the server that it was captured from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logged {
    /// The last durable position.
    pub durable: Lsn,
    /// The cluster.
    pub system_id: Option<u64>,
    /// The timeline that it was on.
    pub timeline: Option<u32>,
    /// The publications that it was read from.
    pub publications: Option<Vec<String>>,
}

impl Logged {
    /// What the record of a session says, and up to where the log is durable. A record that cannot be read is an error:
    /// taken for one that says nothing, it would let another server's history be glued on (L3).
    pub fn of(json: &[u8], durable: Lsn) -> Result<Self, WireError> {
        let SessionRecord { system_id, timeline, publications, .. } = SessionRecord::decode(json)?;
        Ok(Self { durable, system_id: Some(system_id), timeline: Some(timeline), publications })
    }
}

/// A session that is open and compared, but does not stream yet. Between the two the writer takes its fence.
#[derive(Debug)]
pub struct Opened {
    session: Session,
    thread: SocketThread,
    identity: SystemIdentity,
    settings: PostgresSettings,
    clock: Arc<dyn Clock>,
}

impl Opened {
    /// Connects and looks who is there.
    pub async fn connect(settings: &PostgresSettings, clock: &Arc<dyn Clock>) -> Result<Self, SourceError> {
        let doing = "connecting for replication";
        let thread = SocketThread::begin().map_err(|error| SourceErrorKind::Thread(error).when(doing))?;
        let (target, its_clock) = (settings.target.clone(), Arc::clone(clock));
        let connecting = thread.spawn(async move {
            let work_mem = ("logical_decoding_work_mem", DECODING_WORK_MEM);
            Session::connect(&target, Mode::Replication, &*its_clock, &[work_mem]).await
        });
        let session = connecting.await.map_err(|_| thread_gone().when(doing))?;
        let mut session = session.map_err(failed(doing))?;
        let identity = session.identify_system().await.map_err(failed("asking which server this is"))?;
        Ok(Self { session, thread, identity, settings: settings.clone(), clock: Arc::clone(clock) })
    }

    /// Which server this is.
    pub const fn identity(&self) -> &SystemIdentity {
        &self.identity
    }

    /// Compares the server with the log, before anything is done to either: a fence taken for the wrong server would stop
    /// the daemon of the right one.
    pub async fn compare(&mut self, logged: &Logged) -> Result<(), SourceError> {
        let doing = "comparing the server with the log";
        if let Some(ours) = logged.system_id.filter(|ours| *ours != self.identity.system_id) {
            let (ours, theirs) = (ours.to_string(), self.identity.system_id.to_string());
            return Err(SourceErrorKind::OtherServer { ours, theirs }.when(doing));
        }
        let slot = names::slot(&self.settings.name);
        let state = slot::state(&mut self.session, &slot).await.map_err(failed("looking at the slot"))?;
        if let Some(database) = state.and_then(|state| state.elsewhere) {
            return Err(slot::of_another(&slot, &database).when(doing));
        }
        if let Some(what) = self.departs(logged).await? {
            return Err(SourceErrorKind::OtherHistory { what }.when(doing));
        }
        published::compare(&mut self.session, &self.settings.publications).await
    }

    /// Where the server's history leaves that of the log, if it does before the log's end.
    async fn departs(&mut self, logged: &Logged) -> Result<Option<String>, SourceError> {
        let (theirs, durable, flushed) = (self.identity.timeline, logged.durable, self.identity.flushed);
        if flushed < durable {
            return Ok(Some(format!("the log is durable up to {durable}, the server has only {flushed}")));
        }
        let Some(ours) = logged.timeline.filter(|ours| *ours != theirs) else { return Ok(None) };
        if theirs < ours {
            return Ok(Some(format!("the log was captured from timeline {ours}, the server is on {theirs}")));
        }
        let history = self.session.timeline_history(theirs).await.map_err(failed("reading the timeline's history"))?;
        let switch = switch_point(&String::from_utf8_lossy(&history), ours);
        if switch.is_some_and(|switch| switch >= durable) {
            return Ok(None);
        }
        let at = switch.map_or("before the log begins".to_owned(), |switch| format!("at {switch}"));
        Ok(Some(format!("timeline {theirs} left timeline {ours} {at}, the log goes on to {durable}")))
    }

    /// Which server this is, in the words of a session's record.
    pub fn server(&self) -> String {
        SessionRecord::of_server(self.identity.system_id, self.identity.timeline).encode()
    }

    /// Who reads from our slot now, if anybody.
    pub async fn holder(&mut self) -> Result<Option<i32>, SourceError> {
        let slot = names::slot(&self.settings.name);
        let state = slot::state(&mut self.session, &slot).await.map_err(failed("looking at the slot"))?;
        Ok(state.and_then(|state| state.active_pid))
    }

    /// Ends an older session that reads from the slot. The writer's fence is durable by now.
    pub async fn release(&mut self) -> Result<(), SourceError> {
        slot::release(&mut self.session, &names::slot(&self.settings.name), &*self.clock).await
    }

    /// Compares the slot with the log, and changes nothing.
    pub async fn reconcile(&mut self, held: Held) -> Result<Found, SourceError> {
        slot::reconcile(&mut self.session, &names::slot(&self.settings.name), held).await
    }

    /// Makes a new slot, in place of the one that is of no use.
    pub async fn renew(&mut self, old: Old, held: Held, renewal: Renewal) -> Result<Start, SourceError> {
        let slot = names::slot(&self.settings.name);
        let place = Place { target: &self.settings.target, clock: &*self.clock, slot: &slot };
        slot::renew(&mut self.session, place, (old, held), renewal).await
    }

    /// Begins to stream from where slot and log agreed to.
    pub async fn stream(mut self, start: Start, known: Known) -> Result<PostgresSource, SourceError> {
        let slot = names::slot(&self.settings.name);
        let drain_to = if known.drain { Some(self.drain_target().await?) } else { None };
        let first = self.first_arrivals(&slot, &start);
        let publications: Vec<_> =
            self.settings.publications.iter().map(|name| crate::connect::quote_ident(name)).collect();
        let publications = publications.join(",");
        let options = [("proto_version", "1"), ("publication_names", publications.as_str()), ("messages", "true")];
        let streaming = self.session.start_replication(&slot, start.at, &options).await;
        let (stream, feedback) = streaming.map_err(failed("starting the stream"))?;
        // What is durable farther on is told once the server has shown that it is of its history.
        let told = Told { durable: start.at, asking: known.drain, ..Told::default() };
        let (tell, told) = watch::channel(told);
        let resume = start.at.max(known.held.durable);
        let intake = Intake::new(resume, known.held.latest, self.settings.heartbeat);
        let intake = intake.knowing(known.shapes).passing_over(known.passed_over).draining(drain_to);
        let intake = match known.tail {
            Tail::Transaction(ours) if start.at < resume => intake.continuing(Some(ours)),
            Tail::Quiet if start.at < resume => intake.continuing(None),
            Tail::Transaction(_) | Tail::Quiet | Tail::Unknown => intake,
        };
        let feedback = self.thread.spawn(feedback::run(feedback, told, Arc::clone(&self.clock)));
        let batches = self.thread.read_ahead(stream, Arc::clone(&self.clock));
        Ok(PostgresSource { batches, intake, tell, feedback, _thread: self.thread, first, clock: self.clock })
    }

    /// What `--until-caught-up` drains to: everything that has been committed by now lies below. A heartbeat behind it
    /// makes sure that the stream gets there, also on an idle server.
    async fn drain_target(&mut self) -> Result<Lsn, SourceError> {
        let row = self.session.one_row("SELECT pg_current_wal_insert_lsn()").await;
        let row = row.map_err(failed("asking how far the server is"))?;
        let sql = Session::connect(&self.settings.target, Mode::Sql, &*self.clock, &[]).await;
        let mut sql = sql.map_err(failed("connecting"))?;
        emit(&mut sql, names::HEARTBEAT, "{}").await.map_err(failed("writing a heartbeat"))?;
        sql.close().await;
        let missing = SourceErrorKind::Protocol { what: "a position that is none".to_owned() };
        row.get(0).and_then(|lsn| lsn.parse().ok()).ok_or_else(|| missing.when("asking how far the server is"))
    }

    fn first_arrivals(&self, slot: &str, start: &Start) -> Vec<Arrival> {
        let SystemIdentity { system_id, timeline, database, .. } = &self.identity;
        let session = SessionRecord {
            database: Some(database.clone()),
            publications: Some(self.settings.publications.clone()),
            server_version: Some(self.session.version_num()),
            slot: Some(slot.to_owned()),
            start: Some(start.at),
            system_id: *system_id,
            timeline: *timeline,
        };
        let mut first = vec![Arrival::Record(Record::own(Kind::Session, Bytes::from(session.encode())))];
        if let Some(gap) = &start.gap {
            push_gap(gap.clone(), &mut first);
        }
        first
    }
}

/// The stream of one session.
#[derive(Debug)]
pub struct PostgresSource {
    batches: mpsc::Receiver<Batch>,
    intake: Intake,
    tell: watch::Sender<Told>,
    feedback: JoinHandle<Result<(), ConnectError>>,
    _thread: SocketThread,
    first: Vec<Arrival>,
    clock: Arc<dyn Clock>,
}

#[async_trait::async_trait]
impl Source for PostgresSource {
    async fn next(&mut self, into: &mut Vec<Arrival>) -> Result<(), SourceError> {
        into.append(&mut self.first);
        while into.is_empty() {
            let doing = "reading the replication stream";
            let batch = self.batches.recv().await.ok_or_else(|| thread_gone().when(doing))?;
            let now = self.clock.tick();
            for event in batch.map_err(failed(doing))? {
                if let Event::Keepalive { reply_wanted: true, .. } = event {
                    self.tell.send_modify(|told| told.asked = told.asked.wrapping_add(1));
                }
                self.intake.event(event, now, into)?;
            }
        }
        self.tell_at_least(self.intake.common());
        if into.contains(&Arrival::Drained) {
            self.tell.send_modify(|told| told.asking = false);
        }
        Ok(())
    }

    async fn acknowledge(&mut self, position: Position) -> Result<(), SourceError> {
        self.tell_at_least(Lsn::from(position));
        Ok(())
    }

    async fn close(&mut self) -> Result<(), SourceError> {
        self.tell.send_modify(|told| told.leave = true);
        let told = timeout(&*self.clock, LEAVE_WITHIN, &mut self.feedback).await;
        let ended = async {
            // What still comes was not asked for any more; it comes again with the next session.
            while let Some(Ok(_)) = self.batches.recv().await {}
        };
        if let Ok(Ok(Err(error))) = told {
            return Err(failed("telling the server what is durable")(error));
        }
        if timeout(&*self.clock, LEAVE_WITHIN, ended).await.is_err() {
            tracing::warn!("the server did not end the stream in time; the session is dropped");
        }
        Ok(())
    }
}

impl PostgresSource {
    fn tell_at_least(&self, durable: Lsn) {
        self.tell.send_if_modified(|told| {
            let moved = durable > told.durable;
            told.durable = told.durable.max(durable);
            moved
        });
    }
}

impl Drop for PostgresSource {
    fn drop(&mut self) {
        self.feedback.abort();
    }
}

/// What ran on the thread was cut off, which only a defect of ours can do.
fn thread_gone() -> SourceErrorKind {
    SourceErrorKind::Thread(std::io::Error::other("it ended before its time"))
}

fn failed(doing: &'static str) -> impl FnOnce(ConnectError) -> SourceError {
    move |error| SourceErrorKind::from(error).when(doing)
}

/// Where a timeline was left, as a history file tells it: lines of `timeline <tab> position <tab> reason`.
fn switch_point(history: &str, timeline: u32) -> Option<Lsn> {
    let mut lines = history.lines().map(|line| line.split_whitespace());
    lines.find_map(|mut words| (words.next()?.parse() == Ok(timeline)).then(|| words.next()?.parse().ok()).flatten())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_file_tells_where_a_timeline_was_left() {
        let history = "1\t0/3000148\tno recovery target specified\n\n2\t0/5000000\tbefore 2026-11-23\n";
        assert_eq!(switch_point(history, 1), Some(Lsn::new(0x300_0148)));
        assert_eq!(switch_point(history, 2), Some(Lsn::new(0x500_0000)));
        assert_eq!(switch_point(history, 3), None);
    }
}
