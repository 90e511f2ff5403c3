//! A socket to a server: TCP with keepalive or a unix socket, and TLS if it is asked for and there.

use std::io;
use std::net::SocketAddr;

use bytes::BytesMut;
use postgres_protocol::message::frontend;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixStream, lookup_host};
use tokio_rustls::TlsConnector;

use crate::clock::{Clock, timeout};
use crate::connect::error::{ConnectError, WireError};
use crate::connect::postgres::url::{ConnectTarget, SslMode};
use crate::connect::postgres::wire::Socket;
use crate::connect::tls::{TlsError, Verify, client_config};

/// One way to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// Without TLS.
    Plain,
    /// With TLS if the server has it.
    TlsIfThere,
    /// With TLS.
    Tls(Verify),
}

/// How to try first. A unix socket never has TLS, whatever `sslmode` says, as with libpq.
pub(super) fn first_attempt(target: &ConnectTarget) -> Attempt {
    match target.ssl_mode {
        _ if target.is_unix() => Attempt::Plain,
        SslMode::Disable => Attempt::Plain,
        SslMode::Prefer => Attempt::TlsIfThere,
        SslMode::Require if target.ssl_root_cert.is_none() => Attempt::Tls(Verify::Nothing),
        SslMode::Require | SslMode::VerifyCa => Attempt::Tls(Verify::Chain),
        SslMode::VerifyFull => Attempt::Tls(Verify::ChainAndName),
    }
}

/// A socket to the server, ready for the startup message.
pub(super) async fn dial(target: &ConnectTarget, attempt: Attempt) -> Result<Socket, ConnectError> {
    let failed = |source| ConnectError::Dial { address: target.address(), source };
    if target.is_unix() {
        return UnixStream::connect(target.address()).await.map(Socket::Unix).map_err(failed);
    }
    let mut stream = tcp(target).await.map_err(failed)?;
    let verify = match attempt {
        Attempt::Plain => return Ok(Socket::Tcp(stream)),
        Attempt::TlsIfThere => Verify::Nothing,
        Attempt::Tls(verify) => verify,
    };
    if offers_tls(&mut stream).await.map_err(failed)? {
        let secured = secure(target, verify, stream).await;
        secured.map(Socket::Tls).map_err(|source| ConnectError::Tls { address: target.address(), source })
    } else if attempt == Attempt::TlsIfThere {
        Ok(Socket::Tcp(stream))
    } else {
        Err(ConnectError::NoTls { address: target.address() })
    }
}

/// Tries each of the host's addresses in turn.
async fn tcp(target: &ConnectTarget) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in lookup_host((target.host.as_str(), target.port)).await? {
        match tcp_at(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn tcp_at(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_keepalive(true)?;
    socket.set_nodelay(true)?;
    socket.connect(address).await
}

/// Asks for TLS. Reads one byte and no more: bytes that follow it would be a stranger's (CVE-2021-23222).
async fn offers_tls(stream: &mut TcpStream) -> io::Result<bool> {
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    stream.write_all(&request).await?;
    match stream.read_u8().await? {
        b'S' => Ok(true),
        b'N' => Ok(false),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the answer to a request for TLS is not PostgreSQL's")),
    }
}

async fn secure(
    target: &ConnectTarget,
    verify: Verify,
    stream: TcpStream,
) -> Result<Box<tokio_rustls::client::TlsStream<TcpStream>>, TlsError> {
    let config = client_config(verify, target.ssl_root_cert.as_deref())?;
    let name =
        ServerName::try_from(target.host.clone()).map_err(|_| TlsError::HostName { host: target.host.clone() })?;
    Box::pin(TlsConnector::from(config).connect(name, stream)).await.map(Box::new).map_err(TlsError::Handshake)
}

/// What it takes to interrupt a session's command from outside.
#[derive(Clone, Debug)]
pub struct CancelToken {
    pub(super) target: ConnectTarget,
    pub(super) pid: i32,
    pub(super) key: i32,
}

impl CancelToken {
    /// Asks the server to interrupt what the session is doing. Whether there was anything to interrupt shows in the
    /// session alone: the server answers nothing.
    pub async fn cancel(&self, clock: &dyn Clock) -> Result<(), ConnectError> {
        let asked = timeout(clock, self.target.connect_timeout, self.ask()).await;
        asked.unwrap_or_else(|source| Err(ConnectError::Late { address: self.target.address(), source }))
    }

    async fn ask(&self) -> Result<(), ConnectError> {
        let lost = |source| ConnectError::Lost { doing: "interrupt a command", source };
        let (mut reader, mut writer) = Box::pin(dial(&self.target, first_attempt(&self.target))).await?.split();
        frontend::cancel_request(self.pid, self.key, &mut writer.out);
        writer.flush().await.map_err(lost)?;
        match reader.fill().await {
            Ok(()) | Err(WireError::Closed) => Ok(()), // the server hangs up once the signal is sent
            Err(error) => Err(lost(error)),
        }
    }
}
