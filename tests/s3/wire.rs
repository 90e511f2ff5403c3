//! The double's socket: real HTTP, and the faults that happen on the wire.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use futures::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{AUTHORIZATION, DATE, HeaderValue};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use s3s::service::S3Service;
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::plan::{Fault, On, Plan};

type Answer = Response<UnsyncBoxBody<Bytes, io::Error>>;

/// What every connection shares.
pub(crate) struct Wire {
    pub(crate) service: S3Service,
    pub(crate) plan: Arc<Plan>,
    pub(crate) late: Arc<Notify>,
}

/// The connection breaks without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection breaks")]
struct Broken;

impl Wire {
    /// Serves until the task is dropped.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            let wire = Arc::clone(&self);
            tokio::spawn(async move {
                let service = hyper::service::service_fn(move |request| {
                    let wire = Arc::clone(&wire);
                    async move { wire.answer(request).await }
                });
                let mut http = hyper::server::conn::http1::Builder::new();
                drop(http.keep_alive(true).serve_connection(TokioIo::new(stream), service).await);
            });
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Answer, Broken> {
        let on = kind(&request);
        let authorization = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or("");
        let fault = self.plan.meet(on, authorization);
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| Broken)?.to_bytes();
        let again = |head: &hyper::http::request::Parts| {
            let mut copy = Request::new(s3s::Body::from(body.clone()));
            (*copy.method_mut(), *copy.uri_mut()) = (head.method.clone(), head.uri.clone());
            *copy.headers_mut() = head.headers.clone();
            copy
        };
        let request = again(&head);
        match fault {
            Some(Fault::FailBefore(status)) => Ok(error(status, "InternalError")),
            Some(Fault::NoRoute) => Ok(no_route()),
            Some(Fault::Conflict) => Ok(error(409, "ConditionalRequestConflict")),
            Some(Fault::SlowDown) => Ok(error(503, "SlowDown")),
            Some(Fault::ExpiredCredentials) => Ok(error(400, "ExpiredToken")),
            Some(Fault::Denied) => Ok(error(403, "AccessDenied")),
            Some(Fault::Skewed) => Ok(error(403, "RequestTimeTooSkewed")),
            Some(Fault::Vanishes) => Ok(acknowledged(&head)),
            Some(Fault::Blackhole) => std::future::pending().await,
            Some(Fault::LandThenFail) => self.forward(request, None).await.map(|_| error(500, "InternalError")),
            Some(Fault::ReplyLost) => {
                self.forward(request, None).await?;
                Err(Broken)
            }
            Some(Fault::LateDuplicate) => {
                let (service, late) = (self.service.clone(), Arc::clone(&self.late));
                tokio::spawn(async move {
                    late.notified().await;
                    drop(service.call(request).await);
                    late.notify_one();
                });
                Err(Broken)
            }
            fault => self.forward(request, fault).await,
        }
    }

    async fn forward(&self, mut request: s3s::HttpRequest, fault: Option<Fault>) -> Result<Answer, Broken> {
        if let Some(fault) = fault {
            request.extensions_mut().insert(fault);
        }
        let answer = self.service.call(request).await.map_err(|_| Broken)?;
        let (mut head, body) = answer.into_parts();
        let mut body = body.collect().await.map_err(|_| Broken)?.to_bytes();
        if fault == Some(Fault::WrongChecksum) {
            let other = HeaderValue::from_static("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
            head.headers.insert("x-amz-checksum-sha256", other);
        }
        if let Some(Fault::OtherDate(minutes)) = fault {
            head.headers.insert(DATE, date(minutes));
        }
        if fault == Some(Fault::FlippedBit) {
            let mut flipped = body.to_vec();
            let middle = flipped.len() / 2;
            flipped[middle] ^= 1;
            body = Bytes::from(flipped);
        }
        if fault == Some(Fault::StalledBody) {
            head.headers.insert("content-length", HeaderValue::from(body.len()));
            let half = stream::iter([Ok(Frame::data(body.slice(..body.len() / 2)))]);
            return Ok(Response::from_parts(
                head,
                StreamBody::new(futures::StreamExt::chain(half, stream::pending())).boxed_unsync(),
            ));
        }
        if fault == Some(Fault::TruncatedBody) {
            head.headers.insert("content-length", HeaderValue::from(body.len()));
            let half = Ok(Frame::data(body.slice(..body.len() / 2)));
            let broken = Err(io::Error::from(io::ErrorKind::ConnectionReset));
            return Ok(Response::from_parts(head, StreamBody::new(stream::iter([half, broken])).boxed_unsync()));
        }
        Ok(Response::from_parts(head, whole(body)))
    }
}

fn whole(body: Bytes) -> UnsyncBoxBody<Bytes, io::Error> {
    Full::new(body).map_err(|never: Infallible| match never {}).boxed_unsync()
}

fn error(status: u16, code: &str) -> Answer {
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>as planned</Message></Error>");
    let mut answer = Response::new(whole(Bytes::from(body)));
    *answer.status_mut() = status.try_into().unwrap();
    answer.headers_mut().insert("x-amz-request-id", HeaderValue::from_static("planned"));
    answer
}

fn no_route() -> Answer {
    let mut answer = Response::new(whole(Bytes::from_static(b"404 page not found\n")));
    *answer.status_mut() = hyper::StatusCode::NOT_FOUND;
    answer
}

/// What a server says of a put that it has stored.
fn acknowledged(put: &hyper::http::request::Parts) -> Answer {
    let mut answer = Response::new(whole(Bytes::new()));
    let sum = put.headers.get("x-amz-checksum-sha256");
    if let Some(sum) = sum {
        answer.headers_mut().insert("x-amz-checksum-sha256", sum.clone());
    }
    answer
}

/// So many minutes from now, as HTTP writes it.
fn date(minutes: i16) -> HeaderValue {
    let now = jiff::Timestamp::try_from(SystemTime::now()).unwrap();
    let then = now + jiff::SignedDuration::from_mins(i64::from(minutes));
    HeaderValue::from_str(&then.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()).unwrap()
}

fn kind(request: &Request<Incoming>) -> On {
    let uri = request.uri();
    let names_object = uri.path().trim_matches('/').contains('/');
    match (request.method(), names_object) {
        (&Method::PUT, true) => On::Put,
        (&Method::GET, true) => On::Get,
        (&Method::HEAD, true) => On::Head,
        (&Method::DELETE, true) => On::Delete,
        (&Method::GET, false) if uri.query().is_some_and(|query| query.contains("list-type=2")) => On::List,
        (&Method::GET, false)
            if uri.query().is_some_and(|query| query.split('&').any(|one| one.starts_with("versions"))) =>
        {
            On::Versions
        }
        _ => On::Other,
    }
}
