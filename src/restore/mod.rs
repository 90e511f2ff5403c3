//! From "that moment" to a running server.
//!
//! Read in this order: `target` (what is asked for), `survey` (what is stored), `cut` and `plan` (where to stop, and from
//! which base), `run` (doing it), `compare`. `find` answers which moment it should be.

pub mod bases;
pub mod compare;
pub mod cut;
pub mod database;
pub mod error;
pub mod find;
pub mod finish;
pub mod load;
pub mod loss;
pub mod plan;
pub mod progress;
pub mod replay;
pub mod run;
pub mod scan;
pub mod schema;
pub mod survey;
pub mod target;
pub mod windows;

pub use error::{NotRestorable, RestoreError, Verdict};
pub use plan::{Cut, Facts, GapRule, Plan};
pub use progress::{Phase, RestoreProgress, Unwatched};
pub use run::{RestoreOrder, RestoreReport, restore};
pub use schema::Roles;
pub use survey::Survey;
