//! A connection string of PostgreSQL, kept so that its password cannot be printed by accident (L6).

use std::fmt;
use std::str::FromStr;
use zeroize::Zeroizing;

/// A URL of a PostgreSQL database. `Debug` and `Display` show user, host, port and database, never a password; what it
/// means in detail is the connection's business.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl(Zeroizing<String>);

impl PostgresUrl {
    /// The whole text, password included: for the connection alone.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// A text that is no URL of PostgreSQL. It does not say which text: that may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a URL of PostgreSQL; write postgres://USER@HOST:PORT/DATABASE")]
pub struct PostgresUrlError;

impl FromStr for PostgresUrl {
    type Err = PostgresUrlError;

    fn from_str(text: &str) -> Result<Self, PostgresUrlError> {
        let rest = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"));
        match rest {
            Some(rest) if !rest.is_empty() && !text.contains(char::is_control) => {
                Ok(Self(Zeroizing::new(text.to_owned())))
            }
            Some(_) | None => Err(PostgresUrlError),
        }
    }
}

impl fmt::Display for PostgresUrl {
    /// The query is left out as well: it may carry `password=`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A password may itself hold '@', '/', '?' or '#' where somebody forgot to encode it, and then part of it stands
        // where host or path belong. So nothing is shown unless the only '@' ends the user's name and password.
        let Ok(url) = url::Url::parse(&self.0) else { return f.write_str("postgres://…") };
        let user = !url.username().is_empty() || url.password().is_some();
        if self.0.matches('@').count() != usize::from(user) {
            return f.write_str("postgres://…");
        }
        f.write_str("postgres://")?;
        if !url.username().is_empty() {
            write!(f, "{}@", url.username())?;
        }
        f.write_str(url.host_str().unwrap_or(""))?;
        if let Some(port) = url.port() {
            write!(f, ":{port}")?;
        }
        f.write_str(url.path())
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown_however_it_is_written() {
        #[rustfmt::skip]
        let cases = [
            // written                                              shown                                  why
            ("postgres://u:sesame@h:5432/db",                       "postgres://u@h:5432/db",              "the usual place"),
            ("postgresql://h/db?user=u&password=sesame",            "postgres://h/db",                     "in the query"),
            ("postgres://u:ses@ame@h/db",                           "postgres://…",                        "an '@' that was not encoded"),
            ("postgres://u:sesame/@h/db",                           "postgres://…",                        "a '/' that was not encoded"),
            ("postgres://u:sesame#@h/db",                           "postgres://…",                        "a '#' that was not encoded"),
            ("postgres://u:12/ses@h/db",                            "postgres://…",                        "and its front looks like a port"),
            ("postgres://%2Frun%2Fpostgresql/db",                   "postgres://%2Frun%2Fpostgresql/db",   "a socket's folder"),
        ];
        for (written, shown, why) in cases {
            let url: PostgresUrl = written.parse().unwrap();
            assert_eq!(url.to_string(), shown, "{why}");
            assert!(!format!("{url:?}").contains("ses"), "{why}");
            assert_eq!(url.expose(), written, "the connection gets it whole");
        }
        assert_eq!("mysql://u:sesame@h/db".parse::<PostgresUrl>(), Err(PostgresUrlError));
    }
}
