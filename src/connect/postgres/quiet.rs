//! A socket that the reactor knows only while it is waited for.
//!
//! ```text
//!   read ─▶ something is there ─▶ taken
//!      └──▶ nothing ─▶ registered ─▶ … ─▶ readable ─▶ registered no more ─▶ read
//! ```
//! Each message that is sent to a registered socket runs a callback of the reactor in its sender, also when nobody waits.
//! A walsender sends each message by itself: millions of them cost it a tenth of its time, and it is what a drain waits
//! for. Two more calls for each wait are cheap against that.

use std::io;
use std::net;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::model::limits::SOCKET_READ_BYTES;

/// A connected socket that does not block and that nobody waits for.
#[derive(Debug)]
pub(super) enum Loose {
    Tcp(net::TcpStream),
    Unix(unix::net::UnixStream),
}

/// The same, known to the reactor.
#[derive(Debug)]
enum Watched {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Loose {
    fn again(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(socket) => socket.try_clone().map(Self::Tcp),
            Self::Unix(socket) => socket.try_clone().map(Self::Unix),
        }
    }

    fn watch(self) -> io::Result<Watched> {
        match self {
            Self::Tcp(socket) => TcpStream::from_std(socket).map(Watched::Tcp),
            Self::Unix(socket) => UnixStream::from_std(socket).map(Watched::Unix),
        }
    }
}

impl AsFd for Loose {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

impl Watched {
    fn poll(&self, way: Way, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match (self, way) {
            (Self::Tcp(socket), Way::In) => socket.poll_read_ready(cx),
            (Self::Tcp(socket), Way::Out) => socket.poll_write_ready(cx),
            (Self::Unix(socket), Way::In) => socket.poll_read_ready(cx),
            (Self::Unix(socket), Way::Out) => socket.poll_write_ready(cx),
        }
    }

    fn loosen(self) -> io::Result<Loose> {
        match self {
            Self::Tcp(socket) => socket.into_std().map(Loose::Tcp),
            Self::Unix(socket) => socket.into_std().map(Loose::Unix),
        }
    }
}

/// What is waited for.
#[derive(Clone, Copy, Debug)]
enum Way {
    In,
    Out,
}

/// One half of a socket.
#[derive(Debug)]
struct Line {
    state: State,
    way: Way,
}

#[derive(Debug)]
enum State {
    /// Nobody waits.
    Loose(Loose),
    /// Somebody waits, and is told by the reactor.
    Waiting(Watched),
    /// The reactor refused it.
    Lost,
}

impl Line {
    /// Does `work` as soon as the socket lets it.
    fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut work: impl FnMut(&Loose) -> Result<T, Errno>,
    ) -> Poll<io::Result<T>> {
        loop {
            self.state = match std::mem::replace(&mut self.state, State::Lost) {
                State::Loose(socket) => match work(&socket) {
                    Err(Errno::WOULDBLOCK) => State::Waiting(socket.watch()?),
                    Err(Errno::INTR) => State::Loose(socket),
                    done => {
                        self.state = State::Loose(socket);
                        return Poll::Ready(done.map_err(io::Error::from));
                    }
                },
                State::Waiting(socket) => match socket.poll(self.way, cx) {
                    Poll::Ready(readiness) => readiness.and_then(|()| socket.loosen()).map(State::Loose)?,
                    Poll::Pending => {
                        self.state = State::Waiting(socket);
                        return Poll::Pending;
                    }
                },
                State::Lost => return Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            }
        }
    }
}

/// What comes from the other end.
#[derive(Debug)]
pub(super) struct QuietReader {
    line: Line,
    scratch: Box<[u8]>,
}

/// What goes to the other end.
#[derive(Debug)]
pub(super) struct QuietWriter {
    line: Line,
}

/// Both halves of a socket.
pub(super) fn quiet(socket: Loose) -> io::Result<(QuietReader, QuietWriter)> {
    let again = socket.again()?;
    let line = |socket, way| Line { state: State::Loose(socket), way };
    let scratch = vec![0; SOCKET_READ_BYTES].into_boxed_slice();
    Ok((QuietReader { line: line(socket, Way::In), scratch }, QuietWriter { line: line(again, Way::Out) }))
}

impl AsyncRead for QuietReader {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { line, scratch } = self.get_mut();
        let room = into.remaining().min(scratch.len());
        let Some(scratch) = scratch.get_mut(..room) else { return Poll::Ready(Ok(())) };
        let read =
            ready!(line.poll(cx, |socket| recv(socket, &mut *scratch, RecvFlags::empty()).map(|(read, _)| read)))?;
        into.put_slice(scratch.get(..read).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for QuietWriter {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().line.poll(cx, |socket| send(socket, from, SendFlags::NOSIGNAL))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let State::Loose(socket) = &self.line.state else { return Poll::Ready(Ok(())) };
        Poll::Ready(shutdown(socket, Shutdown::Write).map_err(io::Error::from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn pair() -> ((QuietReader, QuietWriter), UnixStream) {
        let (ours, theirs) = unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        (quiet(Loose::Unix(ours)).unwrap(), UnixStream::from_std(theirs).unwrap())
    }

    #[tokio::test]
    async fn every_byte_passes_both_ways_through_buffers_that_are_full() {
        let ((mut reader, mut writer), theirs) = pair();
        let (mut their_reader, mut their_writer) = theirs.into_split();
        let sent: Vec<u8> =
            (0..3_000_000_u32).map(|number| number.to_le_bytes()[0] ^ number.to_le_bytes()[1]).collect();
        let echo = async {
            let mut piece = [0; 1000];
            loop {
                let read = their_reader.read(&mut piece).await.unwrap();
                their_writer.write_all(piece.get(..read).unwrap()).await.unwrap();
            }
        };
        let mut received = vec![0; sent.len()];
        let both = async { tokio::join!(writer.write_all(&sent), reader.read_exact(&mut received)) };
        let (written, read) = tokio::select! { both = both => both, () = echo => (Ok(()), Ok(0)) };
        written.unwrap();
        assert_eq!(read.unwrap(), sent.len());
        assert!(received == sent);
    }

    #[tokio::test]
    async fn the_reactor_knows_a_socket_only_while_it_is_waited_for() {
        let ((mut reader, _writer), mut theirs) = pair();
        let mut byte = [0];
        assert!(futures::poll!(std::pin::pin!(reader.read(&mut byte))).is_pending());
        assert!(matches!(reader.line.state, State::Waiting(_)));
        theirs.write_all(b"xy").await.unwrap();
        assert_eq!(reader.read(&mut byte).await.unwrap(), 1, "a wait that was given up has taken nothing");
        assert!(matches!((&reader.line.state, byte), (State::Loose(_), [b'x'])));
        assert_eq!(reader.read(&mut byte).await.unwrap(), 1);
        assert!(matches!((&reader.line.state, byte), (State::Loose(_), [b'y'])));
    }

    #[tokio::test]
    async fn the_other_end_that_hangs_up_is_the_end_for_both_halves() {
        let ((mut reader, mut writer), theirs) = pair();
        drop(theirs);
        assert_eq!(reader.read(&mut [0; 8]).await.unwrap(), 0);
        assert_eq!(writer.write(b"late").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
