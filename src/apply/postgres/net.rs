//! The net effect of a window on one table's rows. Pure.
//!
//! ```text
//!   a row of the window    insert              update               delete
//!   (not seen)             Insert              Update               Delete
//!   Insert                 an error            Insert, merged       (not seen)
//!   Update                 an error            Update, merged       Delete
//!   Delete                 Update of all       an error             an error
//! ```
//! Rows are told apart by their key, or, where a table has none, by all their values: then a change is one row less and
//! one more, and how often is counted.

use std::collections::BTreeMap;

use crate::apply::postgres::row::{self, Cell, Row};
use crate::apply::postgres::shape::RowIdentity;

/// A change that cannot follow what came before it.
pub type Misfit = &'static str;

const THERE_ALREADY: Misfit = "a row is inserted that is there already";
const NOT_THERE: Misfit = "a row is changed that is not there";
const NO_KEY: Misfit = "a change does not say which row it is of";
const NOT_WHOLE: Misfit = "a row lacks a value";

/// What becomes of the row with a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Net {
    /// It is new.
    Insert(Row),
    /// It is there, and these values change.
    Update(Row),
    /// It goes.
    Delete,
}

/// Whether a change is in the window, or has to be made at once and in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is in the window.
    Merged,
    /// The row gets another key and keeps values that the source did not send: only an UPDATE does that, after
    /// everything that is pending for the table.
    Move {
        /// The values of the old key, in the key's order.
        from: Row,
        /// The row's values.
        to: Row,
    },
}

/// Rows with a key: the net effect on each.
#[derive(Debug, Default)]
pub struct Keyed {
    rows: BTreeMap<Vec<u8>, (Row, Net)>,
}

/// Rows without a key: how many more of each there are.
#[derive(Debug, Default)]
pub struct Bag {
    rows: BTreeMap<Vec<u8>, (Row, i64)>,
}

/// The net effect on a table.
#[derive(Debug)]
pub enum TableNet {
    /// Of a table with a key: its columns, and the rows.
    Keyed(Vec<usize>, Keyed),
    /// Of a table whose rows are told apart by all their values.
    Bag(Bag),
    /// Of a table that only grows.
    Plain(Vec<Row>),
}

impl TableNet {
    /// Nothing so far.
    pub fn new(identity: &RowIdentity) -> Self {
        match identity {
            RowIdentity::Key(columns) => Self::Keyed(columns.clone(), Keyed::default()),
            RowIdentity::Full => Self::Bag(Bag::default()),
            RowIdentity::Nothing => Self::Plain(Vec::new()),
        }
    }

    /// A new row.
    pub fn insert(&mut self, new: Row) -> Result<(), Misfit> {
        if !row::is_whole(&new) {
            return Err(NOT_WHOLE);
        }
        match self {
            Self::Keyed(key, keyed) => keyed.insert(key, new),
            Self::Bag(bag) => bag.add(new, 1),
            Self::Plain(rows) => {
                rows.push(new);
                Ok(())
            }
        }
    }

    /// A row that changes. `old` is what the source sent of its older version: of a keyed table only the key counts.
    pub fn update(&mut self, old: Option<Row>, new: Row) -> Result<Taken, Misfit> {
        match self {
            Self::Keyed(key, keyed) => keyed.update(key, old.as_deref(), new),
            Self::Bag(bag) => {
                let old = old.ok_or(NO_KEY)?;
                let new = row::merge(&old, new);
                bag.add(old, -1)?;
                bag.add(new, 1)?;
                Ok(Taken::Merged)
            }
            Self::Plain(_) => Err(NO_KEY),
        }
    }

    /// A row that goes.
    pub fn delete(&mut self, old: Row) -> Result<(), Misfit> {
        match self {
            Self::Keyed(key, keyed) => keyed.delete(key, &old),
            Self::Bag(bag) => bag.add(old, -1),
            Self::Plain(_) => Err(NO_KEY),
        }
    }

    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Keyed(_, keyed) => keyed.rows.is_empty(),
            Self::Bag(bag) => bag.rows.is_empty(),
            Self::Plain(rows) => rows.is_empty(),
        }
    }
}

fn key_of(key: &[usize], values: &[Cell]) -> Result<(Vec<u8>, Row), Misfit> {
    let cells: Option<Row> = key.iter().map(|at| values.get(*at).cloned()).collect();
    let cells = cells.ok_or(NO_KEY)?;
    Ok((row::identity_bytes(&cells).ok_or(NO_KEY)?, cells))
}

impl Keyed {
    /// The net effects, by key: the key's values, and what becomes of the row.
    pub fn rows(&self) -> impl Iterator<Item = (&Row, &Net)> {
        self.rows.values().map(|(key, net)| (key, net))
    }

    fn insert(&mut self, key: &[usize], new: Row) -> Result<(), Misfit> {
        let (bytes, cells) = key_of(key, &new)?;
        let net = match self.rows.remove(&bytes) {
            None => Net::Insert(new),
            Some((_, Net::Delete)) => Net::Update(new),
            Some((_, Net::Insert(_) | Net::Update(_))) => return Err(THERE_ALREADY),
        };
        self.rows.insert(bytes, (cells, net));
        Ok(())
    }

    fn update(&mut self, key: &[usize], old: Option<&[Cell]>, new: Row) -> Result<Taken, Misfit> {
        // An unchanged large value in the key is not sent again: it is as the old version says.
        let new = match old {
            Some(old) => merge_key(key, old, new),
            None => new,
        };
        let (bytes, cells) = key_of(key, &new)?;
        if let Some(old) = old {
            let (old_bytes, old_cells) = key_of(key, old)?;
            if old_bytes != bytes {
                return self.rekey((old_bytes, old_cells), key, new);
            }
        }
        let net = match self.rows.remove(&bytes) {
            None => Net::Update(new),
            Some((_, Net::Insert(older))) => Net::Insert(row::merge(&older, new)),
            Some((_, Net::Update(older))) => Net::Update(row::merge(&older, new)),
            Some((_, Net::Delete)) => return Err(NOT_THERE),
        };
        self.rows.insert(bytes, (cells, net));
        Ok(Taken::Merged)
    }

    /// A row that gets another key: the old one goes, and the new one comes with all its values, if they are known.
    fn rekey(&mut self, (bytes, cells): (Vec<u8>, Row), key: &[usize], new: Row) -> Result<Taken, Misfit> {
        match self.rows.get(&bytes) {
            Some((_, Net::Delete)) => Err(NOT_THERE),
            Some((_, Net::Insert(older))) => {
                let whole = row::merge(older, new);
                self.rows.remove(&bytes);
                self.insert(key, whole)?;
                Ok(Taken::Merged)
            }
            Some((_, Net::Update(older))) => {
                let merged = row::merge(older, new);
                self.move_or_ask(bytes, cells, key, merged)
            }
            None => self.move_or_ask(bytes, cells, key, new),
        }
    }

    fn move_or_ask(&mut self, bytes: Vec<u8>, cells: Row, key: &[usize], new: Row) -> Result<Taken, Misfit> {
        if !row::is_whole(&new) {
            return Ok(Taken::Move { from: cells, to: new });
        }
        self.rows.insert(bytes, (cells, Net::Delete));
        self.insert(key, new)?;
        Ok(Taken::Merged)
    }

    fn delete(&mut self, key: &[usize], old: &[Cell]) -> Result<(), Misfit> {
        let (bytes, cells) = key_of(key, old)?;
        match self.rows.remove(&bytes) {
            Some((_, Net::Insert(_))) => {}
            None | Some((_, Net::Update(_))) => drop(self.rows.insert(bytes, (cells, Net::Delete))),
            Some((_, Net::Delete)) => return Err(NOT_THERE),
        }
        Ok(())
    }
}

fn merge_key(key: &[usize], old: &[Cell], mut new: Row) -> Row {
    for at in key {
        if let (Some(cell), Some(older)) = (new.get_mut(*at), old.get(*at))
            && *cell == Cell::Unchanged
        {
            *cell = older.clone();
        }
    }
    new
}

impl Bag {
    /// How many more of each row there are; below zero: fewer.
    pub fn rows(&self) -> impl Iterator<Item = (&Row, i64)> {
        self.rows.values().map(|(row, more)| (row, *more))
    }

    fn add(&mut self, values: Row, more: i64) -> Result<(), Misfit> {
        let bytes = row::identity_bytes(&values).ok_or(NOT_WHOLE)?;
        let count = &mut self.rows.entry(bytes.clone()).or_insert((values, 0)).1;
        *count = count.saturating_add(more);
        if *count == 0 {
            self.rows.remove(&bytes);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
