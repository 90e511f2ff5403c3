//! The whole command line as a value: what can be asked for, and the help that an operator reads at three in the morning.

mod retention;
mod stores;
mod verify;

pub use retention::{ExpireArgs, HoldAddArgs, HoldRemoveArgs, HoldVerb};
pub use stores::{CatalogVerb, CheckArgs, ListArgs, PromoteArgs, StoreChoice, StoreVerb};
pub use verify::{Since, VerifyArgs};

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use clap::{Args as Arguments, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use zeroize::Zeroizing;

use crate::config::PostgresUrl;
use crate::model::{SourceName, Timestamp};
use crate::restore::target::{Target, mark, time};
use crate::step::{Death, DeathError};

/// Keeps one continuous, encrypted history of PostgreSQL, and brings it back as it was at any moment.
#[derive(Debug, Parser)]
#[command(name = "holdfast", version, max_term_width = 110, after_help = EXITS, subcommand_value_name = "VERB")]
#[command(subcommand_help_heading = "Verbs", arg_required_else_help = true, disable_help_subcommand = true)]
pub struct Args {
    /// The configuration [default: ./holdfast.toml, then /etc/holdfast/holdfast.toml]
    #[arg(short = 'c', long = "config", value_name = "FILE", global = true, help_heading = "Everywhere")]
    pub config: Option<PathBuf>,
    /// Answer with JSON, for machines
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub json: bool,
    /// Say more; twice for everything
    #[arg(short, long, global = true, help_heading = "Everywhere", action = clap::ArgAction::Count, conflicts_with = "quiet")]
    pub verbose: u8,
    /// Say nothing but errors
    #[arg(short, long, global = true, help_heading = "Everywhere")]
    pub quiet: bool,
    /// Kill this process when it reaches STEP for the N-th time: for drills alone
    #[arg(long, value_name = "STEP[:N]", global = true, help_heading = "Everywhere", hide = true, value_parser = death)]
    pub die_at: Option<String>,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

const EXITS: &str = "\
Exit codes:
  0 done                 1 failed                   2 usage or configuration   3 not restorable
  4 verification failed  5 fenced by another writer 6 store or key unavailable 7 could not tell";

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make the key, the store's layout, and on the source slot, publication and triggers; safe to repeat
    #[command(after_help = INIT)]
    Init(InitArgs),
    /// Ask whether everything can be captured and restored, one line each, and what to do if not
    Check(CheckArgs),
    /// Capture, until told to stop (SIGTERM): the daemon
    Run(RunArgs),
    /// Take a full base now, or join the one under way
    Backup(BackupArgs),
    /// Show bases, log and gaps: what can be restored, from when to when
    List(ListArgs),
    /// Find transactions, such as the one just before the accident
    #[command(after_help = FIND)]
    Find(FindArgs),
    /// Bring a database back as it was, into an empty one
    #[command(after_help = RESTORE)]
    Restore(RestoreArgs),
    /// Read back what is stored and prove that it is whole
    #[command(after_help = verify::VERIFY)]
    Verify(VerifyArgs),
    /// Show what has expired; with --yes, delete it
    #[command(after_help = retention::EXPIRE)]
    Expire(ExpireArgs),
    /// Stretches of history that stay, whatever retention says
    #[command(subcommand, subcommand_value_name = "VERB", subcommand_help_heading = "Verbs")]
    Hold(HoldVerb),
    /// Show positions, lag and the last base
    Status,
    /// Put a named point into the history, to restore to it later with --to mark:NAME
    Mark(MarkArgs),
    /// The stores, and which of them decides
    #[command(subcommand, subcommand_value_name = "VERB", subcommand_help_heading = "Verbs")]
    Store(StoreVerb),
    /// The key that opens everything in the store
    #[command(subcommand, subcommand_value_name = "VERB", subcommand_help_heading = "Verbs")]
    Keys(KeysVerb),
    /// The local index of the store
    #[command(subcommand, subcommand_value_name = "VERB", subcommand_help_heading = "Verbs")]
    Catalog(CatalogVerb),
}

const INIT: &str = "\
A key is made only for an empty store, never beside a log that another key sealed.
What init makes on the source is named holdfast... and listed by --dry-run.";

/// `init`
#[derive(Debug, Arguments)]
pub struct InitArgs {
    /// Undo on the source all that init ever did there, replica identities included; the store stays as it is
    #[arg(long)]
    pub remove: bool,
    /// Show every statement and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask before --remove; needed without a terminal
    #[arg(long)]
    pub yes: bool,
}

/// `run`
#[derive(Debug, Arguments)]
pub struct RunArgs {
    /// Capture what there is now and leave: no base, no open port
    #[arg(long)]
    pub until_caught_up: bool,
    /// Run these jobs once instead of capturing, for a role that may delete or decrypt; several with commas
    #[arg(long, value_name = "JOB", value_delimiter = ',', conflicts_with = "until_caught_up")]
    pub jobs: Vec<Job>,
}

/// Work beside capture that may need rights which capture should not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Job {
    /// Delete what retention no longer needs
    Expire,
    /// Read back every byte of what is stored
    Verify,
    /// Restore a random point and compare; not in this version
    Drill,
    /// Remove what broken bases left behind
    Sweep,
}

/// `backup`
#[derive(Debug, Arguments)]
pub struct BackupArgs {
    /// Of this source [default: of every source]
    #[arg(value_name = "SOURCE")]
    pub source: Option<SourceName>,
}

const FIND: &str = "\
Examples:
  What deleted from orders since noon? The xid it prints goes into restore --to before-xid:
    holdfast find --table public.orders --op delete --since 2026-11-23T12:00:00Z
  Who changed this one row?
    holdfast find --table public.orders --key 4711 --show-values";

/// `find`
#[derive(Debug, Arguments)]
pub struct FindArgs {
    /// The store.
    #[command(flatten)]
    pub store: StoreChoice,
    /// In this source [default: in every source]
    #[arg(long, value_name = "NAME")]
    pub source: Option<SourceName>,
    /// That touched this table (orders, or shop.orders)
    #[arg(long, value_name = "TABLE")]
    pub table: Option<String>,
    /// That committed at or after this time, zone required
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub since: Option<Timestamp>,
    /// That committed at or before this time, zone required
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub until: Option<Timestamp>,
    /// That did this; several with commas
    #[arg(long, value_name = "OP", value_delimiter = ',')]
    pub op: Vec<Op>,
    /// That touched the row with this key: VALUE, or COLUMN=VALUE for each column of a longer key
    #[arg(long, value_name = "KEY", requires = "table")]
    pub key: Vec<String>,
    /// Print keys and values of rows; without it they stay sealed
    #[arg(long)]
    pub show_values: bool,
    /// At most so many, the newest
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub limit: usize,
}

/// What a transaction did to a row or a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Op {
    /// New rows
    Insert,
    /// Changed rows
    Update,
    /// Deleted rows
    Delete,
    /// Emptied tables
    Truncate,
}

const RESTORE: &str = "\
TARGET is one of
  latest                  the newest instant that is whole
  2026-11-23T10:15:00Z    a time; its zone is required (Z, or an offset such as +01:00)
  before-xid:1234         up to a transaction, without it; `holdfast find` prints xids
  xid:1234                up to a transaction, with it
  lsn:16/B374D848         up to a place in the write-ahead log
  mark:NAME               up to a point that `holdfast mark` set

Examples:
  1. Look first; this changes nothing:
       holdfast restore --to before-xid:1234 --dry-run
  2. Make an empty database and restore into it. The damaged one stays as it is:
       createdb shop_restored
       holdfast restore --to before-xid:1234 --into main=postgres://postgres@127.0.0.1/shop_restored
  3. Only one table, as it was at a time:
       holdfast restore --to 2026-11-23T10:15:00Z --only orders --into main=postgres:///scratch

Restore needs the store and the key, not the source. It refuses a database that is not empty, and
a point inside a gap. An interrupted restore leaves its database marked incomplete: drop it, make an
empty one, and run it again.";

/// `restore`
#[derive(Debug, Arguments)]
pub struct RestoreArgs {
    /// The store.
    #[command(flatten)]
    pub store: StoreChoice,
    /// Where to stop: latest, a time with its zone, lsn:, xid:, before-xid: or mark:
    #[arg(long, value_name = "TARGET")]
    pub to: Target,
    /// Which source into which empty database; once for each source
    #[arg(long, value_name = "NAME=URL", required_unless_present = "dry_run")]
    pub into: Vec<WrittenInto>,
    /// Only this table; may be repeated
    #[arg(long, value_name = "TABLE")]
    pub only: Vec<String>,
    /// Print the plan, what it will stop at and what it leaves out, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask; needed without a terminal
    #[arg(long)]
    pub yes: bool,
    /// Restore across a gap although what it hides is lost
    #[arg(long)]
    pub allow_gap: bool,
    /// Write the report, as JSON, to this file
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// What happens to roles that the server lacks
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Roles::Create)]
    pub roles: Roles,
    /// Connections that load at once [default: base.jobs]
    #[arg(long, value_name = "N", value_parser = jobs)]
    pub jobs: Option<usize>,
}

/// What happens to roles that own something and that the server lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Roles {
    /// They are created, without login
    Create,
    /// Owners and grants are skipped
    None,
}

/// `NAME=URL` as written. It may hold a password, and clap repeats what it cannot read: so this reads anything, and
/// [`RestoreArgs::destinations`] takes it apart.
#[derive(Clone)]
pub struct WrittenInto(Zeroizing<String>);

impl From<&str> for WrittenInto {
    fn from(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }
}

impl fmt::Debug for WrittenInto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WrittenInto(…)")
    }
}

/// Which source goes where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The source.
    pub source: SourceName,
    /// The empty database that receives it.
    pub url: PostgresUrl,
}

/// A `--into` that cannot be used. It never repeats what was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DestinationError {
    /// It is not `NAME=URL`.
    #[error("--into is not NAME=URL; write the source's name and a database, as in main=postgres://USER@HOST/DATABASE")]
    Shape,
    /// One source was given two databases.
    #[error("--into names the source {0} twice; give each source one database")]
    Twice(SourceName),
}

impl RestoreArgs {
    /// Every `--into`, taken apart.
    pub fn destinations(&self) -> Result<Vec<Destination>, DestinationError> {
        let mut found: Vec<Destination> = Vec::new();
        for written in &self.into {
            let (source, url) = written.0.split_once('=').ok_or(DestinationError::Shape)?;
            let source: SourceName = source.parse().map_err(|_| DestinationError::Shape)?;
            let url = url.parse().map_err(|_| DestinationError::Shape)?;
            if found.iter().any(|earlier| earlier.source == source) {
                return Err(DestinationError::Twice(source));
            }
            found.push(Destination { source, url });
        }
        Ok(found)
    }
}

/// `mark`
#[derive(Debug, Arguments)]
pub struct MarkArgs {
    /// What to call this point
    #[arg(value_name = "NAME", value_parser = mark)]
    pub name: String,
}

/// `keys`
#[derive(Clone, Debug, Subcommand)]
pub enum KeysVerb {
    /// Write a new key to the file that key.file names, readable by its owner alone; refuses to overwrite
    New {
        /// Make a recovery key instead: its private half goes into FILE, to be kept offline, its public half is printed
        #[arg(long, value_name = "FILE")]
        recovery: Option<PathBuf>,
    },
    /// Show the ids of keys, never a key: those at hand, and for which ones the store is sealed, from when to when
    List,
    /// Seal under new data keys from now on; asks the running daemon
    Rotate {
        /// Put a new key in front of those in the key file too: it wraps from the next start on, the old ones still open
        #[arg(long)]
        file: bool,
    },
    /// Wrap every data key of the store for the keys of today, so that old objects open with these; rewrites no object
    Rewrap,
}

impl Args {
    /// Reads a command line, the program's name first. An error is clap's, to be printed by it; see
    /// [`crate::cli::exit::Exit`] for the code.
    pub fn read(line: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Self, clap::Error> {
        let mut command = Self::command();
        let args = Self::from_arg_matches(&command.try_get_matches_from_mut(line)?)?;
        if let Verb::Restore(restore) = &args.verb
            && let Err(error) = restore.destinations()
        {
            return Err(command.error(clap::error::ErrorKind::ValueValidation, error));
        }
        Ok(args)
    }

    /// Where a drill wants this process to die.
    pub fn death(&self) -> Option<Death> {
        self.die_at.as_deref().and_then(|text| text.parse().ok())
    }
}

fn death(text: &str) -> Result<String, DeathError> {
    text.parse::<Death>().map(|_| text.to_owned())
}

fn jobs(text: &str) -> Result<usize, &'static str> {
    text.parse().ok().filter(|jobs| (1..=32).contains(jobs)).ok_or("write a number from 1 to 32")
}

#[cfg(test)]
mod tests;
