//! What `verify` can be asked for.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args as Arguments;

use crate::cli::args::{StoreChoice, jobs};
use crate::config::unit;
use crate::model::{SourceName, Timestamp};
use crate::restore::target::time;

pub(crate) const VERIFY: &str = "\
Whether the newest objects were lost shows against a witness alone. The source's slot is asked if the
configuration names the source and it answers; the answer says which witnesses were asked.
Of a mirror (--store) it is not asked, since a mirror may trail it.

Exit code 4 if anything is damaged; else 7 if anything could not be read; else 0.";

/// `verify`
#[derive(Debug, Arguments)]
pub struct VerifyArgs {
    /// The store.
    #[command(flatten)]
    pub store: StoreChoice,
    /// Names and chain alone, without reading every byte
    #[arg(long)]
    pub quick: bool,
    /// Objects that are checked at once, each by a thread of its own
    #[arg(long, value_name = "N", value_parser = jobs, default_value = "2")]
    pub jobs: usize,
    /// What was written at or after a time (zone required), or within a stretch such as 2d [default: everything]
    #[arg(long, value_name = "TIME|DURATION", value_parser = since)]
    pub since: Option<Since>,
    /// Name every object in this file, with its size and hash: a line of JSON each, the outcome last
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Of this source alone
    #[arg(long, value_name = "NAME")]
    pub source: Option<SourceName>,
}

/// From when on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// From this moment on.
    Time(Timestamp),
    /// So long back from now.
    Ago(Duration),
}

impl Since {
    /// The moment, if it is `now`.
    pub fn moment(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Time(time) => time,
            Self::Ago(ago) => {
                let micros = i64::try_from(ago.as_micros()).unwrap_or(i64::MAX);
                Timestamp::from_micros(now.micros().saturating_sub(micros))
            }
        }
    }
}

fn since(text: &str) -> Result<Since, String> {
    if let Ok(ago) = unit::duration(text) {
        return Ok(Since::Ago(ago));
    }
    time(text).map(Since::Time).map_err(|error| format!("{error}; or write a stretch such as 2d"))
}
