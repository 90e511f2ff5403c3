//! A thread of its own for a session's socket: it reads ahead of the encoder and tells the server what is durable.
//!
//! ```text
//!   server ──▶ socket ─▶ read_ahead ─▶ a bounded queue ─▶ intake, encoder        one thread ║ the others
//!     ▲                  feedback   ◀─ a watch         ◀─ acknowledge
//! ```
//!
//! A walsender sends each message by itself, and waking a sleeping reader costs it more than decoding the change did. So
//! while messages come close together the thread rests between two reads and takes what has gathered; it may, since
//! nothing else runs on it. Neither does an encoder that is busy hold up a status update (L9).

use std::convert::Infallible;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::clock::{Clock, rest};
use crate::connect::{ConnectError, Event, ReplicationStream};
use crate::model::Tick;
use crate::model::limits::READ_AHEAD_BYTES;

/// Reads that bring something at least this often are a stream, not single messages.
const CLOSE_TOGETHER: Duration = Duration::from_micros(300);
/// How long a stream gathers: long enough for dozens of messages, short enough that no socket's buffer is full.
const REST: Duration = Duration::from_micros(50);
/// Batches that are read and not yet taken; each holds at most [`READ_AHEAD_BYTES`].
const BATCHES: usize = 1;
/// What an event takes beside its payload, roughly.
const EVENT_BYTES: usize = 64;

/// What the server sent, in order; after an error nothing comes.
pub(super) type Batch = Result<Vec<Event>, ConnectError>;

/// The thread, and the runtime that its sockets belong to. It ends when this is dropped, with all that runs on it.
#[derive(Debug)]
pub(super) struct SocketThread {
    runtime: Handle,
    _alive: oneshot::Sender<Infallible>,
}

impl SocketThread {
    /// Starts the thread.
    pub(super) fn begin() -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (alive, over) = oneshot::channel();
        // Nothing is ever sent: it waits until the other end is dropped.
        let body = move || drop(runtime.block_on(over));
        std::thread::Builder::new().name("socket".to_owned()).spawn(body)?;
        Ok(Self { runtime: handle, _alive: alive })
    }

    /// Runs `work` on the thread. A socket that is opened there stays there, whoever uses it.
    pub(super) fn spawn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.runtime.spawn(work)
    }

    /// Reads `stream` ahead of whoever takes the batches.
    pub(super) fn read_ahead(
        &self,
        stream: ReplicationStream,
        clock: std::sync::Arc<dyn Clock>,
    ) -> mpsc::Receiver<Batch> {
        let (queue, batches) = mpsc::channel(BATCHES);
        drop(self.spawn(async move {
            if let Err(error) = read(stream, &*clock, &queue).await {
                // Nobody listens any more: the session was given up.
                drop(queue.send(Err(error)).await);
            }
        }));
        batches
    }
}

/// Reads until the session breaks, or nobody listens. What was read before an error goes first.
async fn read(
    mut stream: ReplicationStream,
    clock: &dyn Clock,
    queue: &mpsc::Sender<Batch>,
) -> Result<(), ConnectError> {
    let (mut batch, mut bytes, mut last, mut flows) = (Vec::new(), 0, Tick::default(), false);
    loop {
        if !batch.is_empty()
            && let Ok(place) = queue.try_reserve()
        {
            place.send(Ok(std::mem::take(&mut batch)));
            bytes = 0;
        }
        if flows && bytes < READ_AHEAD_BYTES {
            rest(REST);
        }
        let before = batch.len();
        let read = tokio::select! {
            biased;
            place = queue.reserve(), if !batch.is_empty() => match place {
                Ok(_taken_above) => continue,
                Err(_) => return Ok(()),
            },
            () = queue.closed() => return Ok(()),
            read = stream.next(&mut batch), if bytes < READ_AHEAD_BYTES => read,
        };
        if let Err(error) = read {
            if !batch.is_empty() {
                drop(queue.send(Ok(batch)).await);
            }
            return Err(error);
        }
        bytes += batch.iter().skip(before).map(weight).sum::<usize>();
        let now = clock.tick();
        flows = now.since(std::mem::replace(&mut last, now)) < CLOSE_TOGETHER;
    }
}

fn weight(event: &Event) -> usize {
    match event {
        Event::XLogData { payload, .. } => payload.len().saturating_add(EVENT_BYTES),
        Event::Keepalive { .. } | Event::CopyDone => EVENT_BYTES,
    }
}
