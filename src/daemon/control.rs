//! Verbs ask the running daemon through `state_dir/control.sock`: one line of JSON there and one line back.
//!
//! ```text
//!   { "verb": "status", … }                      at most 64 KiB
//!   { "ok": … }  or  { "error": "…", "exit": n }
//! ```
//! Only the daemon's own user and root can open the socket. Its file appears complete, with its rights, in the place of
//! one that a dead daemon left: whoever binds holds the lock of the state folder.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::clock::{Clock, sleep, timeout};

/// A request is a verb and its few arguments.
const REQUEST_BYTES_MAX: u64 = 64 * 1024;
/// The longest answer is a page of the catalog's entries.
const ANSWER_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Requests that are served at once; further ones wait.
const AT_ONCE_MAX: usize = 16;
/// How long whoever connected may take to say what it wants, and to take the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// After a failed accept (no file descriptors left) the daemon waits so long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// A daemon's no, with the exit code that the verb ends in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why, for people.
    pub sentence: String,
    /// The exit code.
    pub exit: u8,
}

/// What a verb does in the daemon.
type Handler = Box<dyn Fn(Value) -> BoxFuture<'static, Result<Value, Refused>> + Send + Sync>;

/// The verbs that a daemon answers.
#[derive(Default)]
pub struct Handlers(BTreeMap<&'static str, Handler>);

impl Handlers {
    /// Adds a verb. The handler gets the whole request.
    #[must_use]
    pub fn on<F, A>(mut self, verb: &'static str, handler: F) -> Self
    where
        F: Fn(Value) -> A + Send + Sync + 'static,
        A: Future<Output = Result<Value, Refused>> + Send + 'static,
    {
        self.0.insert(verb, Box::new(move |request| Box::pin(handler(request))));
        self
    }

    async fn answer(&self, line: &[u8]) -> Value {
        let Ok(request) = serde_json::from_slice::<Value>(line) else {
            return json!({ "error": "the daemon cannot read the request: it is no line of JSON", "exit": 1 });
        };
        let handler = request.get("verb").and_then(|verb| self.0.get(verb.as_str()?));
        let Some(handler) = handler else {
            return json!({ "error": "the daemon does not know this verb; is it of the same version?", "exit": 1 });
        };
        match handler(request).await {
            Ok(value) => json!({ "ok": value }),
            Err(refused) => json!({ "error": refused.sentence, "exit": refused.exit }),
        }
    }
}

/// The socket cannot be made, or the daemon could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The socket's file cannot be made.
    #[error("control socket {path} cannot be made; look at the rights of state_dir and the length of its name", path = path.display())]
    Bind {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is a daemon, and it cannot be reached.
    #[error("the daemon at {path} cannot be asked; run this as its user", path = path.display())]
    Ask {
        /// Its socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What it answered is no answer.
    #[error("the daemon at {path} did not answer; see its log", path = path.display())]
    NoAnswer {
        /// Its socket.
        path: PathBuf,
    },
    /// It said no.
    #[error("the daemon says: {}", .0.sentence)]
    Refused(Refused),
}

/// Where the socket of a state folder is.
pub fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("control.sock")
}

/// The daemon's end. Its file goes with it.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
}

impl Control {
    /// Makes the socket. Whoever calls holds the lock of the state folder, so a socket that is there is a dead one's.
    pub fn bind(state_dir: &Path) -> Result<Self, ControlError> {
        let path = path(state_dir);
        let listener = bind(state_dir, &path).map_err(|source| ControlError::Bind { path: path.clone(), source })?;
        Ok(Self { listener, path })
    }

    /// Answers until it is dropped.
    pub async fn serve(self, handlers: Arc<Handlers>, clock: Arc<dyn Clock>) {
        let places = Arc::new(Semaphore::new(AT_ONCE_MAX));
        let mut serving = JoinSet::new();
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            while serving.try_join_next().is_some() {}
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let (handlers, clock) = (Arc::clone(&handlers), Arc::clone(&clock));
                    serving.spawn(async move {
                        // Whoever asked went away, or asked nothing: nobody is left to be told.
                        let _gone = exchange(stream, &handlers, &*clock).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(error = %error, "the control socket does not take a connection");
                    sleep(&*clock, ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // The next daemon replaces what is left.
        drop(std::fs::remove_file(&self.path));
    }
}

/// Bound in a folder that nobody else can enter, and moved to its place once it has its rights.
fn bind(state_dir: &Path, path: &Path) -> io::Result<UnixListener> {
    let making = state_dir.join("control.new");
    if making.exists() {
        std::fs::remove_dir_all(&making)?;
    }
    std::fs::DirBuilder::new().mode(0o700).create(&making)?;
    let socket = making.join("s");
    let listener = UnixListener::bind(&socket)?;
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&socket, path)?;
    std::fs::remove_dir(&making)?;
    Ok(listener)
}

async fn exchange(stream: UnixStream, handlers: &Handlers, clock: &dyn Clock) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let line = timeout(clock, PATIENCE, line(&mut stream, REQUEST_BYTES_MAX)).await.map_err(io::Error::other)??;
    let mut answer = handlers.answer(&line).await.to_string().into_bytes();
    if u64::try_from(answer.len()).unwrap_or(u64::MAX) >= ANSWER_BYTES_MAX {
        answer = json!({ "error": "the answer is too long to be told", "exit": 1 }).to_string().into_bytes();
    }
    answer.push(b'\n');
    timeout(clock, PATIENCE, stream.write_all(&answer)).await.map_err(io::Error::other)??;
    Ok(())
}

/// One line, without its end; an error if it is longer than allowed or does not end.
async fn line(stream: &mut (impl AsyncRead + AsyncBufReadExt + Unpin), bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    stream.take(bytes_max).read_until(b'\n', &mut line).await?;
    match line.pop() {
        Some(b'\n') => Ok(line),
        Some(_) | None => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Whether a daemon listens in a state folder.
pub async fn is_there(state_dir: &Path) -> Result<bool, ControlError> {
    Ok(reach(&path(state_dir)).await?.is_some())
}

async fn reach(path: &Path) -> Result<Option<UnixStream>, ControlError> {
    match UnixStream::connect(path).await {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => Ok(None),
        Err(source) => Err(ControlError::Ask { path: path.to_owned(), source }),
    }
}

/// Asks the daemon of a state folder; `None` if none runs there. Waits for as long as the daemon needs.
pub async fn ask(state_dir: &Path, request: &Value) -> Result<Option<Value>, ControlError> {
    let path = path(state_dir);
    let Some(stream) = reach(&path).await? else { return Ok(None) };
    let mut stream = BufReader::new(stream);
    let exchanged = async {
        stream.write_all(format!("{request}\n").as_bytes()).await?;
        line(&mut stream, ANSWER_BYTES_MAX).await
    };
    let Ok(line) = exchanged.await else { return Err(ControlError::NoAnswer { path }) };
    let Ok(Value::Object(mut answer)) = serde_json::from_slice(&line) else {
        return Err(ControlError::NoAnswer { path });
    };
    if let Some(value) = answer.remove("ok") {
        return Ok(Some(value));
    }
    let sentence = answer.get("error").and_then(Value::as_str).unwrap_or("no").to_owned();
    let exit = answer.get("exit").and_then(Value::as_u64).and_then(|exit| u8::try_from(exit).ok()).unwrap_or(1);
    Err(ControlError::Refused(Refused { sentence, exit }))
}

#[cfg(test)]
mod tests;
