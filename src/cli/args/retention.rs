//! What can be asked about deleting, and about keeping.

use clap::{Args as Arguments, Subcommand};

use crate::cli::args::StoreChoice;
use crate::model::{HoldName, SourceName, Timestamp};
use crate::restore::target::time;

pub(crate) const EXPIRE: &str = "\
What stays, whatever the clocks say: every instant of the last retention.log, each base's own instant for
retention.bases, every hold, and the newest base with all of the log behind it. Nothing is deleted while
the log's newest commit and this machine's clock are more than an hour apart.";

/// `expire`
#[derive(Debug, Arguments)]
pub struct ExpireArgs {
    /// Delete it; without this nothing is changed
    #[arg(long)]
    pub yes: bool,
    /// Of this source alone
    #[arg(long, value_name = "NAME")]
    pub source: Option<SourceName>,
}

/// `hold`
#[derive(Debug, Subcommand)]
pub enum HoldVerb {
    /// Keep every instant of a stretch, for every process that sees the store
    Add(HoldAddArgs),
    /// Show the holds of the store and of the configuration
    List(StoreChoice),
    /// Let a stretch expire like any other
    Remove(HoldRemoveArgs),
}

/// `hold add`
#[derive(Debug, Arguments)]
pub struct HoldAddArgs {
    /// What to call it
    #[arg(value_name = "NAME")]
    pub name: HoldName,
    /// The first instant, zone required
    #[arg(long, value_name = "TIME", value_parser = time, required_unless_present = "since", requires = "to")]
    pub from: Option<Timestamp>,
    /// The last instant, zone required
    #[arg(long, value_name = "TIME", value_parser = time, requires = "from")]
    pub to: Option<Timestamp>,
    /// The first instant, without a last one
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with_all = ["from", "to"])]
    pub since: Option<Timestamp>,
    /// In this source alone
    #[arg(long, value_name = "NAME")]
    pub source: Option<SourceName>,
}

/// `hold remove`
#[derive(Debug, Arguments)]
pub struct HoldRemoveArgs {
    /// Which
    #[arg(value_name = "NAME")]
    pub name: HoldName,
    /// Do not ask; needed without a terminal
    #[arg(long)]
    pub yes: bool,
    /// In this source alone
    #[arg(long, value_name = "NAME")]
    pub source: Option<SourceName>,
}
