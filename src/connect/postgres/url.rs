//! Where a PostgreSQL server is and who we are there: a URL as libpq reads it, whose password nothing ever prints.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

/// How much TLS, in libpq's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SslMode {
    /// None.
    Disable,
    /// If the server has it; without any check of who answers.
    #[default]
    Prefer,
    /// Always, without a check of who answers, unless `sslrootcert` is given: then as `VerifyCa`.
    Require,
    /// Always, and a trusted root vouches for the certificate.
    VerifyCa,
    /// That, and the certificate was made for the host's name.
    VerifyFull,
}

impl SslMode {
    /// The word in the URL.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }
}

/// A text that is not the URL of a PostgreSQL server. It never quotes the URL, which may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// It does not begin as it should.
    #[error("a PostgreSQL server is written postgres://USER[:PASSWORD]@HOST[:PORT]/DATABASE[?sslmode=...]")]
    Scheme,
    /// A `%` is not followed by two hexadecimal digits, or what they say is not UTF-8 or holds a NUL.
    #[error("the {part} is not percent-encoded UTF-8; write % as %25, @ as %40, : as %3A and / as %2F")]
    Encoding {
        /// Which part.
        part: &'static str,
    },
    /// More than one host.
    #[error("several hosts are given; name one: a replication slot lives on one server")]
    SeveralHosts,
    /// Nothing where something is needed.
    #[error("the {part} is missing; write postgres://USER@HOST/DATABASE, or ?host=/run/postgresql for a unix socket")]
    Missing {
        /// Which part.
        part: &'static str,
    },
    /// Not a port.
    #[error("the port is not a number from 1 to 65535")]
    Port,
    /// An unknown `sslmode`.
    #[error("sslmode is disable, prefer, require, verify-ca or verify-full")]
    SslMode,
    /// Not a number of seconds.
    #[error("connect_timeout is a number of seconds from 1 to 3600")]
    ConnectTimeout,
    /// A parameter that means nothing here.
    #[error(
        "unknown parameter {name:?}; known are host, port, user, password, dbname, sslmode, sslrootcert, \
         application_name, connect_timeout and options"
    )]
    Parameter {
        /// Its name.
        name: String,
    },
}

/// A PostgreSQL server, a database on it, and who we are there.
#[derive(Clone)]
pub struct ConnectTarget {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) user: String,
    pub(super) password: Option<Zeroizing<String>>,
    pub(super) database: String,
    pub(super) ssl_mode: SslMode,
    pub(super) ssl_root_cert: Option<PathBuf>,
    pub(super) application_name: String,
    pub(super) connect_timeout: Duration,
    pub(super) options: String,
}

impl ConnectTarget {
    /// The same server, another database.
    #[must_use]
    pub fn with_database(&self, name: &str) -> Self {
        Self { database: name.to_owned(), ..self.clone() }
    }

    /// The same, under another name in `pg_stat_activity` and `synchronous_standby_names`.
    #[must_use]
    pub fn with_application_name(&self, name: &str) -> Self {
        Self { application_name: name.to_owned(), ..self.clone() }
    }

    /// The host's name or address, or the folder of a unix socket.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, which is part of a unix socket's name too.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The role.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The database.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// The name in `pg_stat_activity`.
    pub fn application_name(&self) -> &str {
        &self.application_name
    }

    /// How much TLS.
    pub const fn ssl_mode(&self) -> SslMode {
        self.ssl_mode
    }

    /// Whether the server is reached by a unix socket.
    pub fn is_unix(&self) -> bool {
        self.host.starts_with('/')
    }

    /// `host:port` or the socket's path, for messages.
    pub fn address(&self) -> String {
        if self.is_unix() {
            format!("{}/.s.PGSQL.{}", self.host.trim_end_matches('/'), self.port)
        } else if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The environment that makes libpq's programs (`pg_dump`) reach the same database as the same role. The password
    /// goes by the environment, which other users of the machine cannot read; command lines they can.
    pub fn libpq_environment(&self) -> Vec<(&'static str, Zeroizing<String>)> {
        let mut all = vec![
            ("PGHOST", self.host.clone()),
            ("PGPORT", self.port.to_string()),
            ("PGUSER", self.user.clone()),
            ("PGDATABASE", self.database.clone()),
            ("PGSSLMODE", self.ssl_mode.name().to_owned()),
            ("PGAPPNAME", self.application_name.clone()),
            ("PGOPTIONS", self.options.clone()),
            ("PGCONNECT_TIMEOUT", self.connect_timeout.as_secs().to_string()),
        ];
        all.extend(self.ssl_root_cert.iter().map(|path| ("PGSSLROOTCERT", path.to_string_lossy().into_owned())));
        let mut all: Vec<_> = all.into_iter().map(|(name, value)| (name, Zeroizing::new(value))).collect();
        all.extend(self.password.iter().map(|password| ("PGPASSWORD", password.clone())));
        all
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), TargetError> {
        match name {
            "host" | "hostaddr" if value.contains(',') => return Err(TargetError::SeveralHosts),
            "host" => self.host = value,
            "port" => self.port = port(&value)?,
            "user" => self.user = value,
            "password" => self.password = Some(Zeroizing::new(value)),
            "dbname" => self.database = value,
            "sslmode" => {
                let modes =
                    [SslMode::Disable, SslMode::Prefer, SslMode::Require, SslMode::VerifyCa, SslMode::VerifyFull];
                self.ssl_mode = modes.into_iter().find(|mode| mode.name() == value).ok_or(TargetError::SslMode)?;
            }
            "sslrootcert" => self.ssl_root_cert = (value != "system").then(|| PathBuf::from(value)),
            "application_name" => self.application_name = value,
            "connect_timeout" => {
                let seconds = value.parse().ok().filter(|seconds| (1..=3600).contains(seconds));
                self.connect_timeout = Duration::from_secs(seconds.ok_or(TargetError::ConnectTimeout)?);
            }
            "options" => self.options = value,
            _ => return Err(TargetError::Parameter { name: name.to_owned() }),
        }
        Ok(())
    }
}

impl FromStr for ConnectTarget {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let rest = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"));
        let (place, parameters) =
            rest.map(|rest| rest.split_once('?').unwrap_or((rest, ""))).ok_or(TargetError::Scheme)?;
        let (authority, database) = place.split_once('/').unwrap_or((place, ""));
        let (who, server) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = match who.split_once(':') {
            Some((user, password)) => (user, Some(Zeroizing::new(decoded(password, "password")?))),
            None => (who, None),
        };
        let (host, port_text) = host_and_port(server)?;
        let mut target = Self {
            host: decoded(host, "host")?,
            port: if port_text.is_empty() { 5432 } else { port(port_text)? },
            user: decoded(user, "user")?,
            password,
            database: decoded(database, "database")?,
            ssl_mode: SslMode::default(),
            ssl_root_cert: None,
            application_name: "holdfast".to_owned(),
            connect_timeout: Duration::from_secs(10),
            options: String::new(),
        };
        for pair in parameters.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            target.set(&decoded(name, "parameter")?, decoded(value, "parameter")?)?;
        }
        for (part, value) in [("host", &target.host), ("user", &target.user)] {
            if value.is_empty() {
                return Err(TargetError::Missing { part });
            }
        }
        if target.database.is_empty() {
            target.database.clone_from(&target.user); // as libpq does
        }
        Ok(target)
    }
}

fn host_and_port(server: &str) -> Result<(&str, &str), TargetError> {
    if server.contains(',') {
        return Err(TargetError::SeveralHosts);
    }
    match server.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, "")) => Ok((address, "")),
        Some((address, port)) => Ok((address, port.strip_prefix(':').ok_or(TargetError::Port)?)),
        None => Ok(server.split_once(':').unwrap_or((server, ""))),
    }
}

fn port(text: &str) -> Result<u16, TargetError> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port > 0).ok_or(TargetError::Port)
}

fn decoded(text: &str, part: &'static str) -> Result<String, TargetError> {
    let hex = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    let escapes = text.match_indices('%').filter_map(|(at, _)| text.as_bytes().get(at.saturating_add(1)..));
    let broken = escapes.into_iter().any(|rest| !(hex(rest.first()) && hex(rest.get(1))));
    let plain = percent_decode_str(text).decode_utf8().ok().filter(|plain| !broken && !plain.contains('\0'));
    plain.map(std::borrow::Cow::into_owned).ok_or(TargetError::Encoding { part })
}

impl fmt::Display for ConnectTarget {
    /// Without the password, always.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "postgres://{}@{}/{}", self.user, self.address(), self.database)
    }
}

impl fmt::Debug for ConnectTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnectTarget({self}, sslmode={})", self.ssl_mode.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_as_libpq_reads_it() {
        #[rustfmt::skip]
        let cases = [
            // url                                                      printed                                   why
            ("postgres://u@h/d",                                        "postgres://u@h:5432/d",                  "the usual"),
            ("postgresql://u:p@h:6000/d",                               "postgres://u@h:6000/d",                  "the other scheme, port, password"),
            ("postgres://u@h",                                          "postgres://u@h:5432/u",                  "the database is the user's"),
            ("postgres://u@[::1]:5/d",                                  "postgres://u@[::1]:5/d",                 "an IPv6 address"),
            ("postgres://u@/d?host=/run/pg",                            "postgres://u@/run/pg/.s.PGSQL.5432/d",   "a socket's folder as a parameter"),
            ("postgres://u@%2Frun%2Fpg:77/d",                           "postgres://u@/run/pg/.s.PGSQL.77/d",     "a socket's folder as the host"),
            ("postgres://a%40b:x%3Ay%2F@h/d%25",                        "postgres://a@b@h:5432/d%",               "percent-encoding everywhere"),
            ("postgres://h/d?user=u&sslmode=verify-full&password=p",    "postgres://u@h:5432/d",                  "user and password as parameters"),
            ("postgres://u:p@w@h/d",                                    "postgres://u@h:5432/d",                  "a bare @ in a password, as libpq bears it"),
        ];
        for (url, printed, why) in cases {
            assert_eq!(url.parse::<ConnectTarget>().map(|target| target.to_string()), Ok(printed.to_owned()), "{why}");
        }
    }

    #[test]
    fn a_url_that_would_mislead_is_refused() {
        #[rustfmt::skip]
        let cases = [
            // url                                  error                                            why
            ("mysql://u@h/d",                       TargetError::Scheme,                             "another kind of server"),
            ("postgres://u@a,b/d",                  TargetError::SeveralHosts,                       "a slot lives on one server"),
            ("postgres://u@/d?host=a,b",            TargetError::SeveralHosts,                       "the same as a parameter"),
            ("postgres://u@h:0/d",                  TargetError::Port,                               "no such port"),
            ("postgres://u@h:+1/d",                 TargetError::Port,                               "a sign is no digit"),
            ("postgres://u@h:99999/d",              TargetError::Port,                               "beyond 16 bits"),
            ("postgres:///d",                       TargetError::Missing { part: "host" },           "whose socket folder?"),
            ("postgres://h/d",                      TargetError::Missing { part: "user" },           "whose name? not the system user's by accident"),
            ("postgres://u:%zz@h/d",                TargetError::Encoding { part: "password" },      "not hexadecimal"),
            ("postgres://u:%f@h/d",                 TargetError::Encoding { part: "password" },      "cut short"),
            ("postgres://u:%00@h/d",                TargetError::Encoding { part: "password" },      "the wire ends strings with NUL"),
            ("postgres://u:%FF@h/d",                TargetError::Encoding { part: "password" },      "not UTF-8"),
            ("postgres://u@h/d?sslmode=maybe",      TargetError::SslMode,                            "a typing error must not mean no TLS"),
            ("postgres://u@h/d?connect_timeout=0",  TargetError::ConnectTimeout,                     "waiting for ever is not offered"),
            ("postgres://u@h/d?ssl=true",           TargetError::Parameter { name: "ssl".to_owned() }, "ignored, it would mean less TLS than asked"),
        ];
        for (url, error, why) in cases {
            assert_eq!(url.parse::<ConnectTarget>().map(|target| target.to_string()), Err(error), "{why}: {url}");
        }
    }

    #[test]
    fn nothing_prints_a_password() {
        let target: ConnectTarget = "postgres://u:hunter2@h/d?application_name=a".parse().unwrap();
        let shown = format!("{target} {target:?} {:?}", target.with_database("e").with_application_name("b"));
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(
            target.libpq_environment().iter().any(|(name, value)| *name == "PGPASSWORD" && value.as_str() == "hunter2")
        );
    }

    proptest::proptest! {
        #[test]
        fn any_text_at_all_is_read_or_refused_without_a_panic(text in "(postgres://)?[a-z0-9:@/?&=%,\\[\\]\u{e9}]{0,40}") {
            drop(text.parse::<ConnectTarget>());
        }
    }
}
