//! A table as a message describes it: the columns of every row that follows until the next description.

use std::collections::BTreeSet;

use crate::codec::wire::Reader;
use crate::codec::wire::WireError;

/// What the old version of a changed row consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReplicaIdentity {
    /// The primary key, if there is one.
    Default,
    /// Nothing.
    Nothing,
    /// The whole row.
    Full,
    /// The columns of a unique index.
    Index,
}

impl ReplicaIdentity {
    /// The letter that stands for it in messages and in `pg_class.relreplident`.
    pub const fn letter(self) -> char {
        match self {
            Self::Default => 'd',
            Self::Nothing => 'n',
            Self::Full => 'f',
            Self::Index => 'i',
        }
    }

    /// What the letter stands for.
    pub const fn from_letter(letter: u8) -> Result<Self, WireError> {
        match letter {
            b'd' => Ok(Self::Default),
            b'n' => Ok(Self::Nothing),
            b'f' => Ok(Self::Full),
            b'i' => Ok(Self::Index),
            _ => Err(WireError::Foreign { what: "a replica identity" }),
        }
    }
}

/// One column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelationColumn {
    /// Whether it belongs to the identity.
    pub in_key: bool,
    /// Its name.
    pub name: String,
    /// The OID of its type.
    pub type_oid: u32,
    /// Its type's modifier, -1 for none.
    pub typmod: i32,
}

/// A table as it was when the rows after this message were written. Its columns are those that are published: in the
/// order of their numbers, without dropped and (before PostgreSQL 18) without generated ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// The table's OID.
    pub relid: u32,
    /// Its schema; empty for `pg_catalog`.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its replica identity.
    pub identity: ReplicaIdentity,
    /// Its published columns.
    pub columns: Vec<RelationColumn>,
}

impl Relation {
    /// Reads what follows the tag `R`.
    pub(crate) fn read(reader: &mut Reader) -> Result<Self, WireError> {
        let relid = reader.u32_be()?;
        let [namespace, name] = [reader.cstr_utf8()?.to_owned(), reader.cstr_utf8()?.to_owned()];
        let identity = ReplicaIdentity::from_letter(reader.u8()?)?;
        let count = reader.u16_be()?;
        let mut columns = Vec::new(); // grows with the bytes that are there, whatever the count says
        for _ in 0..count {
            columns.push(RelationColumn {
                in_key: reader.u8()? & 1 != 0,
                name: reader.cstr_utf8()?.to_owned(),
                type_oid: reader.u32_be()?,
                typmod: reader.i32_be()?,
            });
        }
        Ok(Self { relid, namespace, name, identity, columns })
    }

    /// Whether rows of both can be read and written alike: the same columns, whatever the table and the identity are.
    /// A column that only joined or left the key does not change the shape.
    pub fn same_shape(&self, other: &Self) -> bool {
        let shape = |column: &RelationColumn| (column.type_oid, column.typmod);
        let alike = |(a, b): (&RelationColumn, &RelationColumn)| a.name == b.name && shape(a) == shape(b);
        self.columns.len() == other.columns.len() && self.columns.iter().zip(&other.columns).all(alike)
    }

    /// The OIDs of the columns' types, each once.
    pub fn type_oids(&self) -> BTreeSet<u32> {
        self.columns.iter().map(|column| column.type_oid).collect()
    }
}
