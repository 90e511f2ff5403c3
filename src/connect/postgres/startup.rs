//! The start of a session: who we are, the settings that every session of ours has, and the proof of identity.

use bytes::{Buf, Bytes, BytesMut};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::frontend;
use zeroize::Zeroize;

use crate::clock::{Clock, timeout};
use crate::connect::error::{ConnectError, WireError};
use crate::connect::postgres::dial::{Attempt, dial, first_attempt};
use crate::connect::postgres::frame::Frame;
use crate::connect::postgres::refusal::ServerError;
use crate::connect::postgres::session::{About, Session};
use crate::connect::postgres::url::{ConnectTarget, SslMode};
use crate::connect::postgres::wire::{Reader, Socket, Writer};

/// What a session is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// SQL. Its commits wait for no standby: in synchronous mode they would wait for ourselves.
    Sql,
    /// Replication commands and simple SQL (`replication=database`).
    Replication,
}

/// The text form of values follows these, so the stream, bases and restores must agree on them.
const PINS: [(&str, &str); 8] = [
    ("DateStyle", "ISO"),
    ("IntervalStyle", "postgres"),
    ("extra_float_digits", "3"),
    ("bytea_output", "hex"),
    ("TimeZone", "UTC"),
    ("client_encoding", "UTF8"),
    ("lc_monetary", "C"),
    ("search_path", "pg_catalog"),
];

impl Session {
    /// Opens a session. `options` are settings for it; one that is pinned is overridden, others are added.
    pub async fn connect(
        target: &ConnectTarget,
        mode: Mode,
        clock: &dyn Clock,
        options: &[(&str, &str)],
    ) -> Result<Self, ConnectError> {
        let opened = timeout(clock, target.connect_timeout, Box::pin(open(target, mode, options))).await;
        opened.unwrap_or_else(|source| Err(ConnectError::Late { address: target.address(), source }))
    }
}

async fn open(target: &ConnectTarget, mode: Mode, options: &[(&str, &str)]) -> Result<Session, ConnectError> {
    let first = first_attempt(target);
    let opened = start(target, mode, options, first).await;
    match &opened {
        // As libpq: prefer means that TLS which does not work, or which pg_hba.conf refuses, is done without.
        Err(ConnectError::Tls { .. }) if first == Attempt::TlsIfThere => {}
        Err(ConnectError::Refused { source, .. }) if first == Attempt::TlsIfThere && source.sqlstate() == "28000" => {}
        Ok(_) | Err(_) => return opened,
    }
    debug_assert_eq!(target.ssl_mode, SslMode::Prefer, "no other mode may fall back to clear text");
    start(target, mode, options, Attempt::Plain).await.or(opened)
}

async fn start(
    target: &ConnectTarget,
    mode: Mode,
    options: &[(&str, &str)],
    attempt: Attempt,
) -> Result<Session, ConnectError> {
    let socket = dial(target, attempt).await?;
    let private = match socket {
        Socket::Tcp(_) => Wire::Open,
        Socket::Unix(_) | Socket::Tls(_) => Wire::Private,
    };
    let (reader, writer) = socket.split();
    let mut opening = Opening { target, reader, writer, wire: private };
    let settings = settings(target, mode, options);
    let mut parameters = vec![
        ("user", target.user.as_str()),
        ("database", target.database.as_str()),
        ("application_name", target.application_name.as_str()),
        ("options", settings.as_str()),
    ];
    match mode {
        Mode::Sql => {}
        Mode::Replication => parameters.push(("replication", "database")),
    }
    opening.send(|out| frontend::startup_message(parameters, out)).await?;
    opening.authenticate().await?;
    let about = opening.until_ready().await?;
    Ok(Session::new(opening.reader, opening.writer, target.clone(), about))
}

/// The startup parameter `options`: the URL's own first, so that the pins win over them.
fn settings(target: &ConnectTarget, mode: Mode, options: &[(&str, &str)]) -> String {
    let own = match mode {
        Mode::Sql => Some(("synchronous_commit", "local")),
        Mode::Replication => None,
    };
    let given = |name: &str| options.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
    let pinned = PINS.into_iter().chain(own).filter(|(name, _)| !given(name));
    let mut text = target.options.clone();
    for (name, value) in pinned.chain(options.iter().copied()) {
        text.push_str(" -c ");
        for letter in name.chars().chain(['=']).chain(value.chars()) {
            if letter.is_whitespace() || letter == '\\' {
                text.push('\\');
            }
            text.push(letter);
        }
    }
    text
}

/// Who may read along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wire {
    /// Everybody on the way.
    Open,
    /// Nobody: TLS, or a unix socket.
    Private,
}

/// A session that is being opened.
struct Opening<'a> {
    target: &'a ConnectTarget,
    reader: Reader,
    writer: Writer,
    wire: Wire,
}

impl Opening<'_> {
    async fn send(&mut self, message: impl FnOnce(&mut BytesMut) -> std::io::Result<()>) -> Result<(), ConnectError> {
        message(&mut self.writer.out).map_err(|_| ConnectError::Unsendable { doing: DOING })?;
        self.writer.flush().await.map_err(lost)
    }

    async fn next(&mut self) -> Result<Frame, ConnectError> {
        loop {
            match self.reader.inbox.frame().map_err(lost)? {
                Some(Frame { tag: b'E', body }) => {
                    let source = ServerError::read(&body);
                    return Err(ConnectError::Refused { address: self.target.address(), source });
                }
                Some(Frame { tag: b'N', .. }) => {}
                Some(frame) => return Ok(frame),
                None => self.reader.fill().await.map_err(lost)?,
            }
        }
    }

    /// The next request of the authentication: its number and what follows it.
    async fn request(&mut self) -> Result<(i32, Bytes), ConnectError> {
        let Frame { tag, mut body } = self.next().await?;
        if tag != b'R' {
            return Err(lost(WireError::Malformed("no authentication request where one is due")));
        }
        let kind = body.try_get_i32().map_err(|_| lost(WireError::Malformed("a short authentication request")))?;
        Ok((kind, body))
    }

    async fn authenticate(&mut self) -> Result<(), ConnectError> {
        loop {
            let (kind, body) = self.request().await?;
            match kind {
                0 => return Ok(()),
                3 if self.wire == Wire::Open => {
                    return Err(ConnectError::PasswordInClear { address: self.target.address() });
                }
                3 => {
                    let password = self.password()?.to_owned();
                    self.send_secret(password).await?;
                }
                5 => {
                    let salt = body.first_chunk::<4>().copied();
                    let salt = salt.ok_or_else(|| lost(WireError::Malformed("a short salt")))?;
                    let hash = md5_hash(self.target.user.as_bytes(), self.password()?.as_bytes(), salt);
                    self.send_secret(hash).await?;
                }
                10 => self.scram(body).await?,
                _ => {
                    return Err(self.refuse(
                        "the server asks for a method other than scram-sha-256, md5 and password; change its pg_hba.conf",
                    ));
                }
            }
        }
    }

    /// SCRAM-SHA-256, by which the server proves that it knows the password too.
    async fn scram(&mut self, offered: Bytes) -> Result<(), ConnectError> {
        if !offered.split(|byte| *byte == 0).any(|name| name == SCRAM_SHA_256.as_bytes()) {
            return Err(self.refuse("the server offers no SCRAM-SHA-256; change its pg_hba.conf"));
        }
        let wrong = "the server's part of SCRAM is wrong: it does not know the password, or somebody stands between";
        let mut scram = ScramSha256::new(self.password()?.as_bytes(), ChannelBinding::unsupported());
        self.send(|out| frontend::sasl_initial_response(SCRAM_SHA_256, scram.message(), out)).await?;
        let (kind, body) = self.request().await?;
        if kind != 11 || scram.update(&body).is_err() {
            return Err(self.refuse(wrong));
        }
        self.send(|out| frontend::sasl_response(scram.message(), out)).await?;
        let (kind, body) = self.request().await?;
        if kind != 12 || scram.finish(&body).is_err() {
            return Err(self.refuse(wrong));
        }
        Ok(())
    }

    fn password(&self) -> Result<&str, ConnectError> {
        let missing = || ConnectError::NoPassword { address: self.target.address(), user: self.target.user.clone() };
        self.target.password.as_ref().map(|password| password.as_str()).ok_or_else(missing)
    }

    /// Sends a password message and wipes it from our buffer.
    async fn send_secret(&mut self, mut secret: String) -> Result<(), ConnectError> {
        let mut message = BytesMut::with_capacity(secret.len().saturating_add(8));
        let encoded = frontend::password_message(secret.as_bytes(), &mut message);
        secret.zeroize();
        encoded.map_err(|_| ConnectError::Unsendable { doing: DOING })?;
        self.writer.out.extend_from_slice(&message);
        message.as_mut().zeroize();
        self.writer.flush().await.map_err(lost)
    }

    fn refuse(&self, why: &'static str) -> ConnectError {
        ConnectError::Authentication { address: self.target.address(), why }
    }

    async fn until_ready(&mut self) -> Result<About, ConnectError> {
        let mut about = About::default();
        loop {
            let Frame { tag, mut body } = self.next().await?;
            match tag {
                b'S' => about.note(&body),
                b'K' => {
                    let short = |_| lost(WireError::Malformed("a short backend key"));
                    about.pid = body.try_get_i32().map_err(short)?;
                    about.key = body.try_get_i32().map_err(short)?;
                }
                b'Z' => return Ok(about),
                _ => return Err(lost(WireError::Malformed("a message that the start of a session does not know"))),
            }
        }
    }
}

const DOING: &str = "open a session";

const fn lost(source: WireError) -> ConnectError {
    ConnectError::Lost { doing: DOING, source }
}
