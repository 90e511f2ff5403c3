//! Tables as base, log and target know them, and whether the three agree.

use std::collections::BTreeMap;

use crate::apply::postgres::error::ApplyError;
use crate::codec::pgoutput::Relation;
use crate::connect::{ConnectError, Row, Session};

/// A column that the log carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapeColumn {
    /// Its name.
    pub name: String,
    /// The OID of its type at the source.
    pub type_oid: u32,
    /// Its type's modifier.
    pub typmod: i32,
}

/// By what a table's rows are told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowIdentity {
    /// By these columns, as indexes.
    Key(Vec<usize>),
    /// By all.
    Full,
    /// By nothing: the table only grows.
    Nothing,
}

/// A table as the base knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableShape {
    /// Its OID at the source.
    pub relid: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// The columns that the log carries: in the order of their numbers, without generated ones.
    pub columns: Vec<ShapeColumn>,
    /// By what its rows are told apart.
    pub identity: RowIdentity,
}

impl TableShape {
    /// Schema and name, for people.
    pub fn title(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// Whether the log describes the table as the base does; what differs if not.
    pub fn agree(&self, relation: &Relation) -> Result<(), String> {
        let disagree = |what: String| Err(what);
        if (relation.namespace.as_str(), relation.name.as_str()) != (self.schema.as_str(), self.name.as_str()) {
            return disagree(format!("it is called {}.{} there", relation.namespace, relation.name));
        }
        for (ours, theirs) in self.columns.iter().zip(&relation.columns) {
            if ours.name != theirs.name {
                return disagree(format!("column {:?} is {:?} there", ours.name, theirs.name));
            }
            if (ours.type_oid, ours.typmod) != (theirs.type_oid, theirs.typmod) {
                return disagree(format!("column {:?} has another type there", ours.name));
            }
        }
        if self.columns.len() == relation.columns.len() {
            Ok(())
        } else {
            disagree(format!("it has {} columns there instead of {}", relation.columns.len(), self.columns.len()))
        }
    }
}

/// How a column of the target is written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetColumn {
    /// Its name.
    pub name: String,
    /// Its type in SQL, without modifiers.
    pub sql_type: String,
    /// The operator by which its values are equal, in SQL.
    pub equals: String,
    /// For `GENERATED ALWAYS AS IDENTITY`: the table, in SQL, whose column it is. A partition has it from its root.
    pub always: Option<String>,
}

/// A table of the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// What the base says.
    pub shape: TableShape,
    /// Its columns, as those of the shape.
    pub columns: Vec<TargetColumn>,
    /// A type of a column has a cast from text of its own, which may say something else than its input does: its rows
    /// are changed one by one, with parameters that the type itself reads.
    pub one_by_one: bool,
}

const COLUMNS: &str = "SELECT n.nspname, c.relname, a.attname, format_type(a.atttypid, -1), CASE WHEN a.attidentity = 'a' THEN \
    coalesce((SELECT quote_ident(rn.nspname) || '.' || quote_ident(r.relname) FROM pg_class r JOIN pg_namespace rn \
    ON rn.oid = r.relnamespace WHERE r.oid = pg_partition_root(c.oid)), \
    'ONLY ' || quote_ident(n.nspname) || '.' || quote_ident(c.relname)) END, \
    EXISTS (SELECT FROM pg_cast k WHERE k.castsource = 'text'::regtype AND k.casttarget = a.atttypid \
            AND k.castmethod = 'f' AND k.oid >= 16384) \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid \
    WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' \
    AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY c.oid, a.attnum";

const OPERATORS: &str = "SELECT n.nspname, c.relname, a.attname, m.nspname, o.oprname \
    FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
    CROSS JOIN LATERAL unnest(i.indkey::int2[], i.indclass::oid[]) AS k (attnum, opclass) \
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum \
    JOIN pg_opclass s ON s.oid = k.opclass \
    JOIN pg_amop p ON p.amopfamily = s.opcfamily AND p.amoplefttype = s.opcintype AND p.amoprighttype = s.opcintype \
    AND p.amopstrategy = 3 JOIN pg_operator o ON o.oid = p.amopopr JOIN pg_namespace m ON m.oid = o.oprnamespace \
    WHERE i.indisunique AND i.indisvalid AND c.relkind = 'r' AND m.nspname <> 'pg_catalog'";

/// Finds the tables of `shapes` in the target.
pub async fn load(session: &mut Session, shapes: Vec<TableShape>) -> Result<BTreeMap<u32, Table>, ApplyError> {
    let failed = |error: ConnectError| ApplyError::session("read the target's tables")(error);
    let mut found: BTreeMap<(String, String), (Vec<TargetColumn>, bool)> = BTreeMap::new();
    for row in session.simple(COLUMNS).await.map_err(failed)?.into_iter().flatten() {
        let (columns, one_by_one) = found.entry((text(&row, 0), text(&row, 1))).or_default();
        columns.push(TargetColumn {
            name: text(&row, 2),
            sql_type: text(&row, 3),
            equals: "OPERATOR(pg_catalog.=)".to_owned(),
            always: row.get(4).map(str::to_owned),
        });
        *one_by_one |= row.get(5) == Some("t");
    }
    for row in session.simple(OPERATORS).await.map_err(failed)?.into_iter().flatten() {
        let Some((columns, _)) = found.get_mut(&(text(&row, 0), text(&row, 1))) else { continue };
        for column in columns.iter_mut().filter(|column| Some(column.name.as_str()) == row.get(2)) {
            column.equals = format!("OPERATOR({}.{})", crate::connect::quote_ident(&text(&row, 3)), text(&row, 4));
        }
    }
    shapes.into_iter().map(|shape| find(&mut found, shape)).collect()
}

fn text(row: &Row, column: usize) -> String {
    row.get(column).unwrap_or_default().to_owned()
}

fn find(
    found: &mut BTreeMap<(String, String), (Vec<TargetColumn>, bool)>,
    shape: TableShape,
) -> Result<(u32, Table), ApplyError> {
    let differs = |what: &str| ApplyError::TargetDiffers { table: shape.title(), what: what.to_owned() };
    let name = (shape.schema.clone(), shape.name.clone());
    // A table without columns is in no list of columns.
    let (columns, one_by_one) = match found.remove(&name) {
        Some(found) => found,
        None if shape.columns.is_empty() => (Vec::new(), false),
        None => return Err(differs("it is not there")),
    };
    if !columns.iter().map(|column| &column.name).eq(shape.columns.iter().map(|column| &column.name)) {
        return Err(differs("its columns have other names"));
    }
    Ok((shape.relid, Table { shape, columns, one_by_one }))
}
