//! Applies a PostgreSQL log to a PostgreSQL database, many source transactions in one of the target.
//!
//! ```text
//!  messages ─▶ transaction ─commit─▶ window: the net effect per row ─full─▶ DELETE, UPDATE, COPY ─▶ COMMIT
//!                   └──void──▶ forgotten
//! ```
//! A window holds whole source transactions (L2). Inside it only the net effect of a row counts: inserted and deleted
//! is nothing, a hundred updates are one. Between tables no order is kept, for the target has no foreign keys, triggers
//! or secondary unique indexes yet; nobody reads it before all is done. A transaction larger than a window streams
//! through a target transaction of its own (L8).
//!
//! L4: every DELETE and UPDATE must find exactly the rows that it was made for; one row less is an error, never a skip. Only
//! where the operator allowed a gap is it counted, and its table named (L3).

pub mod applier;
pub mod copytext;
pub mod error;
pub mod flush;
pub mod net;
pub mod params;
pub mod row;
pub mod shape;
pub mod sql;
pub mod window;

pub use applier::{Applied, Applier, Misses, Transaction, WindowRule};
pub use error::ApplyError;
pub use shape::{RowIdentity, ShapeColumn, TableShape};
