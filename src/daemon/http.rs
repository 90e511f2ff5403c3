//! What the daemon shows by HTTP, to machines that watch it and people who look: read-only, small, and never in the way.
//!
//! ```text
//!   /live     200 while every source's task lives      /metrics   Prometheus
//!   /ready    200 while all is captured in time        /status    JSON        /   a page
//! ```
//! It holds no secret and no row, but positions and names: who may reach the address may read them.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::Listener;
use metrics_exporter_prometheus::{BuildError, PrometheusHandle};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::clock::Clock;
use crate::daemon::board::Board;
use crate::daemon::metrics;
use crate::daemon::status::{self, Now, Sight};

/// The page cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address cannot be listened on.
    #[error("listen.http = {address} cannot be listened on; is the port taken?")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Metrics cannot be collected.
    #[error("metrics cannot be collected")]
    Metrics(#[from] BuildError),
}

/// Connections that are open at once; further ones wait (L8).
const CONNECTIONS_MAX: usize = 64;

/// A listener that takes so many connections and no more.
struct Bounded {
    listener: TcpListener,
    places: Arc<Semaphore>,
}

impl Listener for Bounded {
    type Io = Placed;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Placed, SocketAddr) {
        let place = Arc::clone(&self.places).acquire_owned().await.expect("nobody closes the semaphore");
        let (stream, from) = Listener::accept(&mut self.listener).await;
        (Placed { stream, _place: place }, from)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection and its place.
struct Placed {
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
}

impl AsyncRead for Placed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Placed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// What is shown.
#[derive(Clone)]
pub struct Showing {
    /// What is true now.
    pub board: Arc<Board>,
    /// What it is compared with.
    pub sight: Sight,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

impl Showing {
    fn now(&self) -> Now {
        (self.clock.tick(), self.clock.now())
    }

    /// Everything, as JSON.
    pub fn status(&self) -> serde_json::Value {
        status::value(&self.board, &self.sight, self.now())
    }
}

/// The address, taken.
#[derive(Debug)]
pub struct Http {
    listener: TcpListener,
    metrics: PrometheusHandle,
}

impl Http {
    /// Takes the address and begins to collect metrics.
    pub async fn bind(address: SocketAddr) -> Result<Self, HttpError> {
        let metrics = metrics::recorder()?;
        let listener = TcpListener::bind(address).await.map_err(|source| HttpError::Bind { address, source })?;
        Ok(Self { listener, metrics })
    }

    /// What collects the metrics; somebody has to call its upkeep now and then.
    pub fn metrics(&self) -> PrometheusHandle {
        self.metrics.clone()
    }

    /// Answers until told to stop.
    pub async fn serve(self, showing: Showing, mut stop: watch::Receiver<bool>) {
        let app = Router::new()
            .route("/", get(page))
            .route("/live", get(live))
            .route("/ready", get(ready))
            .route("/status", get(status_json))
            .route("/metrics", get(metrics_text))
            .with_state((showing, self.metrics));
        let stopped = async move { drop(stop.wait_for(|stop| *stop).await) };
        let bounded = Bounded { listener: self.listener, places: Arc::new(Semaphore::new(CONNECTIONS_MAX)) };
        if let Err(error) = axum::serve(bounded, app).with_graceful_shutdown(stopped).await {
            tracing::warn!(error = %error, "the status page is gone; capture goes on");
        }
    }
}

type Shown = State<(Showing, PrometheusHandle)>;

async fn page(State((showing, _)): Shown) -> Response {
    ([(CONTENT_TYPE, "text/html; charset=utf-8")], status::page(&showing.status())).into_response()
}

async fn status_json(State((showing, _)): Shown) -> Response {
    json(StatusCode::OK, &showing.status())
}

async fn live(State((showing, _)): Shown) -> Response {
    let alive = status::is_alive(&showing.board.read());
    json(code(alive), &serde_json::json!({ "live": alive }))
}

async fn ready(State((showing, _)): Shown) -> Response {
    let why = status::not_ready(&showing.board.read(), &showing.sight, showing.now());
    json(code(why.is_empty()), &serde_json::json!({ "ready": why.is_empty(), "why": why }))
}

async fn metrics_text(State((showing, metrics)): Shown) -> Response {
    metrics::show(&showing.board.read(), showing.now());
    metrics::show_mirrors(&showing.board.mirrors(), showing.clock.now());
    metrics::show_jobs(&showing.board.jobs(), showing.now().1);
    metrics::show_keys(&showing.board.keys(), showing.clock.tick());
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics.render()).into_response()
}

const fn code(good: bool) -> StatusCode {
    if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

fn json(code: StatusCode, value: &serde_json::Value) -> Response {
    (code, [(CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}
