//! What can go wrong between us and a server, and what the caller can do; never with a row's values in it.

use std::io;

use crate::clock::Elapsed;
use crate::connect::postgres::ServerError;
use crate::connect::tls::TlsError;

/// The bytes on the wire stopped, or stopped making sense. The session is over; a new one may be opened.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The operating system reported a failure.
    #[error("the socket failed")]
    Socket(#[source] io::Error),
    /// The server hung up without a word.
    #[error("the server closed the connection")]
    Closed,
    /// The server said something that the protocol does not allow here.
    #[error("the server broke the protocol: {0}")]
    Malformed(&'static str),
    /// A message that has to be held whole is larger than its bound.
    #[error("the server sent a message of {bytes} bytes where at most {bytes_max} are accepted")]
    TooLarge {
        /// What the server announced.
        bytes: usize,
        /// What is accepted.
        bytes_max: usize,
    },
}

/// A session could not be opened, or could not do what was asked of it.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody answered at the address.
    #[error("connect to {address}; check that the server runs there and that this machine may reach it")]
    Dial {
        /// Host and port, or the socket's path.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The server did not complete the start of a session in time.
    #[error("connect to {address}; the server is overloaded, or something on the way drops packets")]
    Late {
        /// Host and port, or the socket's path.
        address: String,
        /// How long it was given.
        #[source]
        source: Elapsed,
    },
    /// TLS could not be agreed upon.
    #[error("agree on TLS with {address}")]
    Tls {
        /// Host and port.
        address: String,
        /// Why.
        #[source]
        source: TlsError,
    },
    /// The server has no TLS, but `sslmode` asks for it.
    #[error("{address} offers no TLS; set ssl = on there, or sslmode=disable here if the network between is trusted")]
    NoTls {
        /// Host and port.
        address: String,
    },
    /// The server asks for a password and none is configured.
    #[error("{address} asks for the password of {user}, and none is configured")]
    NoPassword {
        /// Host and port, or the socket's path.
        address: String,
        /// The role.
        user: String,
    },
    /// The server asks for the password in clear text over a network without TLS.
    #[error(
        "{address} asks for a password in clear text without TLS; use scram-sha-256 in pg_hba.conf, or sslmode=require"
    )]
    PasswordInClear {
        /// Host and port.
        address: String,
    },
    /// The server asks for a proof of identity that we cannot give, or could not prove its own.
    #[error("authenticate at {address}: {why}")]
    Authentication {
        /// Host and port, or the socket's path.
        address: String,
        /// What is wrong, and the remedy.
        why: &'static str,
    },
    /// The server refused the session.
    #[error("open a session at {address}")]
    Refused {
        /// Host and port, or the socket's path.
        address: String,
        /// What the server said.
        #[source]
        source: ServerError,
    },
    /// The connection broke. What was under way may or may not have happened.
    #[error("{doing}: the connection is gone, and what was under way may or may not have happened; reconnect and look")]
    Lost {
        /// What was being done.
        doing: &'static str,
        /// How it broke.
        #[source]
        source: WireError,
    },
    /// The server refused a command. The session goes on.
    #[error("{doing}")]
    Server {
        /// What was being done.
        doing: &'static str,
        /// What the server said.
        #[source]
        source: ServerError,
    },
    /// The server refused a step of a pipeline; the steps after it, up to the next sync, were not run.
    #[error("run step {step} of a pipeline")]
    Step {
        /// Which step, counted from zero at the pipeline's start.
        step: u64,
        /// What the server said.
        #[source]
        source: ServerError,
    },
    /// A command cannot be put on the wire.
    #[error("{doing}: the command holds a NUL byte or is too large for the protocol")]
    Unsendable {
        /// What was being done.
        doing: &'static str,
    },
    /// The server's answer to a command lacks something.
    #[error("{doing}: the answer lacks {lacks}; is this really PostgreSQL 13 or later?")]
    Answer {
        /// What was being done.
        doing: &'static str,
        /// What is missing.
        lacks: &'static str,
    },
    /// An earlier command was given up halfway; its answers are still on their way.
    #[error("{doing}: an earlier command on this session was given up halfway; open a new session")]
    Unfinished {
        /// What was being done.
        doing: &'static str,
    },
}

impl ConnectError {
    /// What the server said, if it was the server that refused.
    pub fn server(&self) -> Option<&ServerError> {
        match self {
            Self::Refused { source, .. } | Self::Server { source, .. } | Self::Step { source, .. } => Some(source),
            Self::Dial { .. }
            | Self::Late { .. }
            | Self::Tls { .. }
            | Self::NoTls { .. }
            | Self::NoPassword { .. }
            | Self::PasswordInClear { .. }
            | Self::Authentication { .. }
            | Self::Lost { .. }
            | Self::Unsendable { .. }
            | Self::Answer { .. }
            | Self::Unfinished { .. } => None,
        }
    }

    /// The five characters of SQLSTATE, if it was the server that refused.
    pub fn sqlstate(&self) -> Option<&str> {
        self.server().map(ServerError::sqlstate)
    }
}
