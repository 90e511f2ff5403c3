//! What is wrong with a configuration, said so that it can be put right: where, what, why, and the remedy.

use std::fmt;
use std::path::PathBuf;

/// One thing that is wrong. Prints as `holdfast.toml:12: source.main.postgres: why; remedy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// The configuration, as it was named.
    pub file: String,
    /// The line, counted from 1; none for what is not there at all.
    pub at: Option<usize>,
    /// The setting: its section, the name or number of its table if there are several, and its name.
    pub field: String,
    /// What is wrong. Never holds the value: it may be a secret.
    pub why: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.at {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}: {}; {}", self.field, self.why, self.remedy)
    }
}

/// No usable configuration. Every kind is exit code 2.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// None was named and none is where it is looked for.
    #[error("found no configuration at {}; write one there, or name it with -c FILE", crate::config::SEARCHED.join(" or "))]
    NotFound,
    /// It is there and cannot be read.
    #[error("could not read the configuration {file}; check its path and rights, or name another with -c FILE", file = file.display())]
    Unreadable {
        /// The configuration, as it was named.
        file: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// It says something that cannot be used: all of that, in the order of its lines.
    #[error("{}", numbered(complaints))]
    Wrong {
        /// The configuration, as it was named.
        file: PathBuf,
        /// At least one.
        complaints: Vec<Complaint>,
    },
}

fn numbered(complaints: &[Complaint]) -> String {
    let lines: Vec<String> = complaints.iter().map(Complaint::to_string).collect();
    let mistakes = if lines.len() == 1 { "1 mistake" } else { &format!("{} mistakes", lines.len()) };
    format!("the configuration has {mistakes}:\n{}", lines.join("\n"))
}

/// The verb needs a setting that the configuration may lack for other verbs' sake. Exit code 2.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NeedError {
    /// It names no source.
    #[error("{file} names no source, and this needs one; add [[source]] with name = \"main\" and postgres = \"postgres://…\"", file = file.display())]
    NoSource {
        /// The configuration.
        file: PathBuf,
    },
    /// It names several sources.
    #[error("{file} names several sources, and this needs to know which; name one of: {names}", file = file.display())]
    WhichSource {
        /// The configuration.
        file: PathBuf,
        /// The names that there are.
        names: String,
    },
    /// It names no such source.
    #[error("{file} names no source {wanted:?}; name one of: {names}", file = file.display())]
    NoSuchSource {
        /// The configuration.
        file: PathBuf,
        /// What was asked for.
        wanted: String,
        /// The names that there are.
        names: String,
    },
    /// It names no such store.
    #[error("{file} names no store {wanted:?}; name one of: {names}", file = file.display())]
    NoSuchStore {
        /// The configuration.
        file: PathBuf,
        /// What was asked for.
        wanted: String,
        /// The names that there are.
        names: String,
    },
    /// It names no key file.
    #[error("[key] names no file, and this needs one; add file = \"/etc/holdfast/key\" to it")]
    NoKeyFile,
    /// It has no state folder.
    #[error("{file} names no state folder, and this needs one; add state_dir = \"/var/lib/holdfast\" to [service]", file = file.display())]
    NoStateDir {
        /// The configuration.
        file: PathBuf,
    },
}
