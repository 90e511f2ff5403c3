//! The configuration: written loosely, used strictly, and all its complaints at once.
//!
//! ```text
//!   holdfast.toml ──▶ raw: values with their lines ──▶ check: settings or every complaint ──▶ Config
//!                         ▲                                ▲
//!           outside: { env = … } { file = … }      unit: "30s", "8MiB"
//! ```
//! Nobody below this floor sees [`Config`]: each part takes a small struct of its own. This is the only place that reads
//! the environment. No complaint repeats a value: one that came from a file or the environment may be a secret (L6).

mod check;
mod complaint;
mod names;
mod outside;
mod postgres_url;
mod raw;
mod settings;
mod store;
pub(crate) mod unit;

pub use complaint::{Complaint, ConfigError, NeedError};
pub use names::{SETTINGS, Shape};
pub use outside::{Machine, Outside};
pub use postgres_url::{PostgresUrl, PostgresUrlError};
pub use settings::{
    BaseSettings, Cipher, Config, Identity, KeySettings, KmsSettings, LogSettings, Objectives, RetentionSettings,
    SchemaImageSettings, Service, SourceSettings, StorePlace, StoreSettings, VerifySettings,
};

use std::path::{Path, PathBuf};

/// Where a configuration is looked for when none is named, first match first.
pub const SEARCHED: [&str; 2] = ["./holdfast.toml", "/etc/holdfast/holdfast.toml"];

impl Config {
    /// Reads the configuration `named` on the command line, or the first of [`SEARCHED`] that exists.
    pub fn load(named: Option<&Path>) -> Result<Self, ConfigError> {
        let file = match named {
            Some(named) => named.to_owned(),
            None => SEARCHED.iter().map(PathBuf::from).find(|path| path.exists()).ok_or(ConfigError::NotFound)?,
        };
        let text =
            std::fs::read_to_string(&file).map_err(|source| ConfigError::Unreadable { file: file.clone(), source })?;
        Self::parse(&file, &text, &Machine)
    }

    /// Checks a configuration's text. `file` is what complaints call it, and relative paths are taken from its folder.
    pub fn parse(file: &Path, text: &str, outside: &dyn Outside) -> Result<Self, ConfigError> {
        check::check(file, text, outside).map_err(|complaints| ConfigError::Wrong { file: file.to_owned(), complaints })
    }
}

#[cfg(test)]
mod tests;
