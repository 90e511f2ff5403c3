//! The two halves of a socket, plain or under TLS; both may be dropped while waiting without losing or repeating a byte.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream, tcp, unix};
use tokio_rustls::client::TlsStream;

use crate::connect::error::WireError;
use crate::connect::postgres::frame::Inbox;
use crate::connect::postgres::quiet::{Loose, QuietReader, QuietWriter, quiet};

/// A connected socket, not yet in halves.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Socket {
    pub(super) fn split(self) -> (Reader, Writer) {
        let (read, write) = match self {
            Self::Tcp(stream) => {
                let (read, write) = stream.into_split();
                (ReadSide::Tcp(read), WriteSide::Tcp(write))
            }
            Self::Unix(stream) => {
                let (read, write) = stream.into_split();
                (ReadSide::Unix(read), WriteSide::Unix(write))
            }
            Self::Tls(stream) => {
                let (read, write) = tokio::io::split(stream);
                (ReadSide::Tls(read), WriteSide::Tls(write))
            }
        };
        let writer = Writer { side: write, out: BytesMut::new(), unflushed: false };
        (Reader { side: read, inbox: Inbox::default() }, writer)
    }
}

#[derive(Debug)]
enum ReadSide {
    Tcp(tcp::OwnedReadHalf),
    Unix(unix::OwnedReadHalf),
    Tls(tokio::io::ReadHalf<Box<TlsStream<TcpStream>>>),
    Quiet(QuietReader),
}

impl AsyncRead for ReadSide {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(side) => Pin::new(side).poll_read(cx, into),
            Self::Unix(side) => Pin::new(side).poll_read(cx, into),
            Self::Tls(side) => Pin::new(side).poll_read(cx, into),
            Self::Quiet(side) => Pin::new(side).poll_read(cx, into),
        }
    }
}

#[derive(Debug)]
enum WriteSide {
    Tcp(tcp::OwnedWriteHalf),
    Unix(unix::OwnedWriteHalf),
    Tls(tokio::io::WriteHalf<Box<TlsStream<TcpStream>>>),
    Quiet(QuietWriter),
}

impl AsyncWrite for WriteSide {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(side) => Pin::new(side).poll_write(cx, from),
            Self::Unix(side) => Pin::new(side).poll_write(cx, from),
            Self::Tls(side) => Pin::new(side).poll_write(cx, from),
            Self::Quiet(side) => Pin::new(side).poll_write(cx, from),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(side) => Pin::new(side).poll_flush(cx),
            Self::Unix(side) => Pin::new(side).poll_flush(cx),
            Self::Tls(side) => Pin::new(side).poll_flush(cx),
            Self::Quiet(side) => Pin::new(side).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(side) => Pin::new(side).poll_shutdown(cx),
            Self::Unix(side) => Pin::new(side).poll_shutdown(cx),
            Self::Tls(side) => Pin::new(side).poll_shutdown(cx),
            Self::Quiet(side) => Pin::new(side).poll_shutdown(cx),
        }
    }
}

/// The same halves, which cost the server nothing while nobody waits for it. Under TLS they stay what they are: there a
/// message costs both sides far more than that.
pub(super) fn quieten(reader: Reader, writer: Writer) -> Result<(Reader, Writer), WireError> {
    let (read, write) = match (reader.side, writer.side) {
        (ReadSide::Tcp(read), WriteSide::Tcp(write)) => {
            let whole = read.reunite(write).map_err(io::Error::other).and_then(TcpStream::into_std);
            halves(whole.map(Loose::Tcp))?
        }
        (ReadSide::Unix(read), WriteSide::Unix(write)) => {
            let whole = read.reunite(write).map_err(io::Error::other).and_then(UnixStream::into_std);
            halves(whole.map(Loose::Unix))?
        }
        others => others,
    };
    Ok((Reader { side: read, ..reader }, Writer { side: write, ..writer }))
}

fn halves(socket: io::Result<Loose>) -> Result<(ReadSide, WriteSide), WireError> {
    let (read, write) = socket.and_then(quiet).map_err(WireError::Socket)?;
    Ok((ReadSide::Quiet(read), WriteSide::Quiet(write)))
}

/// What comes from the server.
#[derive(Debug)]
pub(super) struct Reader {
    side: ReadSide,
    pub(super) inbox: Inbox,
}

impl Reader {
    /// Waits for more bytes. Cancel-safe: what was read is in the inbox or still in the socket.
    pub(super) async fn fill(&mut self) -> Result<(), WireError> {
        match self.side.read_buf(self.inbox.room()).await {
            Ok(0) => Err(WireError::Closed),
            Ok(_) => Ok(()),
            Err(error) => Err(WireError::Socket(error)),
        }
    }
}

/// What goes to the server.
#[derive(Debug)]
pub(super) struct Writer {
    side: WriteSide,
    /// Messages that have not been handed to the socket.
    pub(super) out: BytesMut,
    /// TLS keeps bytes of its own until it is flushed.
    unflushed: bool,
}

impl Writer {
    /// Whether everything is on its way.
    pub(super) fn is_idle(&self) -> bool {
        self.out.is_empty() && !self.unflushed
    }

    /// Hands some bytes to the socket. Cancel-safe: what was not handed over is still in `out`.
    pub(super) async fn push(&mut self) -> Result<(), WireError> {
        if self.out.is_empty() {
            self.side.flush().await.map_err(WireError::Socket)?;
            self.unflushed = false;
            return Ok(());
        }
        self.unflushed = true;
        match self.side.write_buf(&mut self.out).await {
            Ok(0) => Err(WireError::Closed),
            Ok(_) => Ok(()),
            Err(error) => Err(WireError::Socket(error)),
        }
    }

    /// Forgets what cannot be sent any more.
    pub(super) fn give_up(&mut self) {
        self.out.clear();
        self.unflushed = false;
    }

    /// Hands everything to the socket. Cancel-safe, as `push` is.
    pub(super) async fn flush(&mut self) -> Result<(), WireError> {
        while !self.is_idle() {
            self.push().await?;
        }
        Ok(())
    }
}
