//! The road to a server, in user space: it breaks, or falls silent, at the byte that a test names.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the server: a request.
    Up,
    /// From the server: an answer.
    Down,
}

/// What happens there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// The connection ends, both ways.
    Cut,
    /// Nothing more comes that way, and nobody says so.
    Silence,
}

/// A road; it ends with this value.
pub struct Road {
    /// What a client takes for the server.
    pub endpoint: String,
    due: Due,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Clone, Debug, Default)]
struct Due(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// The break that comes next, and how many bytes pass before it.
    next: Option<(Way, Break, usize)>,
    broke: u64,
}

impl Road {
    /// A road to `endpoint`, `http://HOST:PORT`.
    pub async fn to(endpoint: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = format!("http://{}", listener.local_addr().unwrap());
        let (due, there) = (Due::default(), endpoint.trim_start_matches("http://").to_owned());
        let task = tokio::spawn(serve(listener, there, due.clone()));
        Self { endpoint: here, due, task }
    }

    /// From now on `bytes` more pass that way, over whichever connection; then it breaks, once.
    pub fn breaks(&self, way: Way, how: Break, bytes: usize) {
        self.due.state().next = Some((way, how, bytes));
    }

    /// Nothing breaks any more; whether something had to be called off, because fewer bytes passed.
    pub fn calm(&self) -> bool {
        self.due.state().next.take().is_some()
    }

    /// How often it broke.
    pub fn broke(&self) -> u64 {
        self.due.state().broke
    }
}

impl Drop for Road {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Due {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many of `bytes` pass, and what happens behind them.
    fn pass(&self, which: Way, bytes: usize) -> (usize, Option<Break>) {
        let mut state = self.state();
        match state.next {
            Some((way, how, left)) if way == which && bytes > left => {
                (state.next, state.broke) = (None, state.broke + 1);
                (left, Some(how))
            }
            Some((way, how, left)) if way == which => {
                state.next = Some((way, how, left - bytes));
                (bytes, None)
            }
            _ => (bytes, None),
        }
    }
}

async fn serve(listener: TcpListener, there: String, due: Due) {
    while let Ok((client, _)) = listener.accept().await {
        let (there, due) = (there.clone(), due.clone());
        tokio::spawn(async move {
            let Ok(server) = TcpStream::connect(there).await else { return };
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            // Whichever way ends first ends the other one.
            tokio::select! {
                () = carry(Way::Up, from_client, to_server, &due) => {}
                () = carry(Way::Down, from_server, to_client, &due) => {}
            }
        });
    }
}

async fn carry(way: Way, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, due: &Due) {
    let mut bytes = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut bytes).await {
        let (pass, breaks) = due.pass(way, read);
        if to.write_all(&bytes[..pass]).await.is_err() {
            return;
        }
        match breaks {
            None => {}
            Some(Break::Cut) => return,
            Some(Break::Silence) => std::future::pending().await,
        }
    }
}
