//! From bytes to a manifest that can be relied on, and back: every promise of the format is checked in both directions.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde::Deserialize;

use crate::codec::base::Content;
use crate::codec::base::FORMAT;
use crate::codec::base::Identity;
use crate::codec::base::Manifest;
use crate::codec::base::Part;
use crate::codec::base::Table;

/// A manifest that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BaseError {
    /// It is no JSON, or not of the manifest's shape.
    #[error("cannot read the manifest of a base; it is damaged, or no manifest")]
    Shape(#[source] serde_json::Error),
    /// It is of a format that this version does not know.
    #[error("the manifest of a base has format {found}, this version reads {FORMAT}; use a newer Holdfast")]
    Format {
        /// The format that it names.
        found: u32,
    },
    /// It contradicts itself.
    #[error("the manifest of base {base} is not whole: {what}")]
    Broken {
        /// Which base.
        base: String,
        /// What is wrong.
        what: String,
    },
    /// It cannot be written.
    #[error("cannot write the manifest of a base")]
    Write(#[source] serde_json::Error),
}

/// As much of a manifest as every version has.
#[derive(Deserialize)]
struct AnyFormat {
    format: u32,
}

impl Manifest {
    /// Reads a manifest and checks that its parts are all there and agree with its tables.
    pub fn decode(json: &[u8]) -> Result<Self, BaseError> {
        let AnyFormat { format } = serde_json::from_slice(json).map_err(BaseError::Shape)?;
        if format != FORMAT {
            return Err(BaseError::Format { found: format });
        }
        let manifest: Self = serde_json::from_slice(json).map_err(BaseError::Shape)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// Writes the manifest, after the checks that its readers will make.
    pub fn encode(&self) -> Result<Vec<u8>, BaseError> {
        if self.format != FORMAT {
            return Err(BaseError::Format { found: self.format });
        }
        self.check()?;
        serde_json::to_vec(self).map_err(BaseError::Write)
    }

    fn check(&self) -> Result<(), BaseError> {
        let broken = |what| BaseError::Broken { base: self.base.to_string(), what };
        let pieces = self.check_parts().map_err(broken)?;
        if self.begins() > self.point {
            return Err(broken(format!("it begins at {}, behind its point", self.begins())));
        }
        let mut relids = BTreeSet::new();
        for (index, table) in (0..).zip(&self.tables) {
            let has_rows = pieces.contains_key(&index);
            check_table(table, has_rows).map_err(|what| {
                broken(format!("table {:?}.{:?} {what}", table.schema, table.name)) //
            })?;
            if table.read_at.is_some_and(|at| at < self.begins() || at > self.point) {
                return Err(broken(format!(
                    "the rows of table {:?}.{:?} are of another time",
                    table.schema, table.name
                )));
            }
            if !relids.insert(table.relid) {
                return Err(broken(format!("two tables have the OID {}", table.relid)));
            }
        }
        Ok(())
    }

    /// Gives for each table that has rows the number of its pieces.
    fn check_parts(&self) -> Result<BTreeMap<u32, u32>, String> {
        let mut pieces = BTreeMap::new();
        for (number, part) in (1..).zip(&self.parts) {
            check_part(part, number)?;
            if let Content::Rows { table, piece } = part.content {
                let known = usize::try_from(table).is_ok_and(|table| table < self.tables.len());
                let last: &mut u32 = pieces.entry(table).or_default();
                if !known {
                    return Err(format!("part {number} holds rows of table {table}, which it does not list"));
                } else if piece != last.saturating_add(1) {
                    return Err(format!("part {number} is piece {piece} of its table's rows, after piece {last}"));
                }
                *last = piece;
            }
        }
        for (content, name) in [(Content::PreData, "pre-data"), (Content::PostData, "post-data")] {
            if !self.parts.iter().any(|part| part.content == content) {
                return Err(format!("no part holds the schema's {name}"));
            }
        }
        Ok(pieces)
    }
}

fn check_part(part: &Part, number: u32) -> Result<(), String> {
    let is_hash = part.sha256.len() == 64 && part.sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if part.number != number {
        Err(format!("part {} stands where part {number} belongs", part.number))
    } else if !is_hash {
        Err(format!("part {number} has no SHA-256 of 64 hexadecimal digits"))
    } else {
        Ok(())
    }
}

fn check_table(table: &Table, has_rows: bool) -> Result<(), String> {
    if !table.columns.is_sorted_by(|left, right| left.attnum < right.attnum) {
        return Err("has columns whose numbers do not rise".to_owned());
    }
    if table.sum.rows() > 0 && !has_rows {
        return Err(format!("has {} rows and no part that holds them", table.sum.rows()));
    }
    match &table.identity {
        Identity::Full | Identity::Nothing => Ok(()),
        Identity::Key { columns, .. } if columns.is_empty() => Err("has an identity without columns".to_owned()),
        Identity::Key { columns, .. } => {
            let unknown = columns.iter().find(|name| table.columns.iter().all(|column| column.name != **name));
            unknown.map_or(Ok(()), |name| Err(format!("has no column {name:?}, which its identity names")))
        }
    }
}
