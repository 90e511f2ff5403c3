//! What can be said of stores on the command line: which one a verb works from, and which one is to decide.

use clap::{Args as Arguments, Subcommand};

use crate::cli::args::{Args, HoldVerb, Verb};
use crate::model::SourceName;

/// Which store a verb works from.
#[derive(Clone, Debug, Default, Arguments)]
pub struct StoreChoice {
    /// From this store alone, a mirror for example [default: the first one]
    #[arg(long = "store", value_name = "NAME")]
    pub name: Option<String>,
}

/// `check`
#[derive(Debug, Arguments)]
pub struct CheckArgs {
    /// The store.
    #[command(flatten)]
    pub store: StoreChoice,
    /// Do what check proposes for tables without a usable replica identity
    #[arg(long)]
    pub fix: bool,
}

/// `list`
#[derive(Debug, Arguments)]
pub struct ListArgs {
    /// The store.
    #[command(flatten)]
    pub store: StoreChoice,
    /// Of this source alone
    #[arg(long, value_name = "NAME")]
    pub source: Option<SourceName>,
}

/// `catalog`
#[derive(Clone, Debug, Subcommand)]
pub enum CatalogVerb {
    /// Make the catalog anew from the store
    Rebuild(StoreChoice),
}

/// `store`
#[derive(Clone, Debug, Subcommand)]
pub enum StoreVerb {
    /// Make a mirror the first store, the one that decides
    #[command(after_help = PROMOTE)]
    Promote(PromoteArgs),
}

const PROMOTE: &str = "\
What the mirror lacks is said first. While the old first store can be reached nothing is lost: its daemon
is fenced and the rest is copied. Where it is gone, what only it held is lost. Afterwards put [[store]] NAME
first in the configuration; a daemon that still names the old one first is refused (exit 5).";

/// `store promote`
#[derive(Clone, Debug, Arguments)]
pub struct PromoteArgs {
    /// The mirror
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Say what it lacks and what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask; needed without a terminal
    #[arg(long)]
    pub yes: bool,
}

impl Args {
    /// The store that the verb is to work from, if one was named.
    pub fn store(&self) -> Option<&str> {
        let choice = match &self.verb {
            Verb::Check(args) => &args.store,
            Verb::List(args) => &args.store,
            Verb::Find(args) => &args.store,
            Verb::Restore(args) => &args.store,
            Verb::Verify(args) => &args.store,
            Verb::Catalog(CatalogVerb::Rebuild(choice)) | Verb::Hold(HoldVerb::List(choice)) => choice,
            Verb::Init(_)
            | Verb::Run(_)
            | Verb::Backup(_)
            | Verb::Expire(_)
            | Verb::Hold(HoldVerb::Add(_) | HoldVerb::Remove(_))
            | Verb::Status
            | Verb::Mark(_)
            | Verb::Store(_)
            | Verb::Keys(_) => return None,
        };
        choice.name.as_deref()
    }
}
