//! What a snapshot holds, read from the catalog: tables with their columns and identities, sequences, extensions.

use std::collections::BTreeMap;

use crate::codec::base::{Database, Extension, Identity, Sequence, Table, TableColumn, TableKind};
use crate::codec::rowsum::RowSum;
use crate::connect::{Row, Session, quote_ident};
use crate::model::Timestamp;
use crate::source::postgres::base::error::BaseTakeError;

/// Who has been writing for longest, in any database: what a snapshot waits for. Names and times, never a query's text.
pub(crate) const OLDEST_WRITER: &str = "\
SELECT coalesce( \
  (SELECT format('process %s of %s on %s, in a transaction since %s', pid, usename, datname, xact_start) \
     FROM pg_stat_activity WHERE backend_xid IS NOT NULL ORDER BY xact_start LIMIT 1), \
  (SELECT format('prepared transaction %L of %s, since %s', gid, owner, prepared) \
     FROM pg_prepared_xacts ORDER BY prepared LIMIT 1), \
  'a transaction that has ended meanwhile')";

/// Tables that a base copies: plain tables and leaf partitions that are logged, outside the system and extensions.
const TABLES: &str = "\
SELECT c.oid, n.nspname, c.relname, c.relispartition, c.relreplident, pg_table_size(c.oid), \
       i.relname, ni.nspname, k.conname, c.relfilenode, pg_relation_size(c.oid) \
  FROM pg_class c \
  JOIN pg_namespace n ON n.oid = c.relnamespace \
  LEFT JOIN pg_class i ON i.oid = pg_get_replica_identity_index(c.oid) \
  LEFT JOIN pg_namespace ni ON ni.oid = i.relnamespace \
  LEFT JOIN pg_constraint k ON k.conindid = i.oid AND k.conrelid = c.oid AND k.contype IN ('p', 'u') \
 WHERE c.relkind = 'r' AND c.relpersistence = 'p' \
   AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'holdfast') \
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e') \
 ORDER BY c.oid";

/// Tables that belong to extensions: CREATE EXTENSION makes them, and what was written into them since is not ours to know.
const OF_EXTENSIONS: &str = "\
SELECT c.oid, n.nspname, c.relname FROM pg_class c \
  JOIN pg_namespace n ON n.oid = c.relnamespace \
  JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e' \
 WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND n.nspname !~ '^pg_' ORDER BY c.oid";

const COLUMNS: &str = "\
SELECT a.attrelid, a.attnum, a.attname, a.atttypid, a.atttypmod, a.attgenerated <> '', \
       CASE WHEN array_position(i.indkey::int2[], a.attnum) < i.indnkeyatts \
            THEN array_position(i.indkey::int2[], a.attnum) + 1 ELSE 0 END \
  FROM pg_attribute a \
  JOIN pg_class c ON c.oid = a.attrelid AND c.relkind = 'r' AND c.relpersistence = 'p' \
  JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname !~ '^pg_' \
   AND n.nspname NOT IN ('information_schema', 'holdfast') \
  LEFT JOIN pg_index i ON i.indexrelid = pg_get_replica_identity_index(c.oid) \
 WHERE a.attnum > 0 AND NOT a.attisdropped \
 ORDER BY a.attrelid, a.attnum";

const DATABASE: &str = "\
SELECT datname, pg_encoding_to_char(encoding), datcollate, datctype, \
       (extract(epoch FROM transaction_timestamp()) * 1000000)::bigint \
  FROM pg_database WHERE datname = current_database()";

const EXTENSIONS: &str = "\
SELECT e.extname, n.nspname, e.extversion FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace \
 WHERE e.extname <> 'plpgsql' ORDER BY e.extname";

const SEQUENCES: &str = "\
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
 WHERE c.relkind = 'S' AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' \
   AND n.nspname NOT IN ('information_schema', 'holdfast') ORDER BY c.oid";

const FORCED: &str = "SELECT relid, before FROM holdfast.forced_identity";

const WARNINGS: &str = "\
SELECT (SELECT count(*) FROM pg_largeobject_metadata), \
       (SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relpersistence = 'u'), \
       (SELECT count(*) FROM pg_class WHERE relkind = 'f'), \
       (SELECT count(*) FROM pg_class WHERE relkind = 'm')";

/// One number for the whole schema: equal before and after means that no DDL committed between. What VACUUM, ANALYZE and
/// TRUNCATE write into `pg_class` is left out, and so are temporary objects.
const FINGERPRINT: &str = "\
WITH lasting AS (SELECT oid FROM pg_class WHERE relpersistence <> 't'), \
     spaces AS (SELECT oid FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp') \
SELECT md5(string_agg(part, ',')) FROM ( \
  SELECT md5(string_agg(concat_ws(' ', oid, relname, relnamespace, relowner, relkind, relnatts, relchecks, relhasrules, \
         relhastriggers, relrowsecurity, relforcerowsecurity, relreplident, relispartition, relacl, reloptions, \
         relpartbound), ',' ORDER BY oid)) AS part FROM pg_class WHERE relpersistence <> 't' \
  UNION ALL SELECT md5(string_agg(concat_ws(' ', attrelid, attnum, xmin), ',' ORDER BY attrelid, attnum)) \
         FROM pg_attribute WHERE attrelid IN (SELECT oid FROM lasting) AND attrelid > 16383 \
  UNION ALL SELECT md5(string_agg(concat_ws(' ', oid, xmin), ',' ORDER BY oid)) FROM pg_type \
         WHERE typnamespace IN (SELECT oid FROM spaces) AND oid > 16383 \
  UNION ALL SELECT md5(string_agg(concat_ws(' ', oid, xmin), ',' ORDER BY oid)) FROM pg_constraint \
         WHERE connamespace IN (SELECT oid FROM spaces) \
  UNION ALL SELECT md5(string_agg(concat_ws(' ', indexrelid, xmin), ',' ORDER BY indexrelid)) FROM pg_index \
         WHERE indrelid IN (SELECT oid FROM lasting) AND indrelid > 16383 \
  UNION ALL SELECT md5(string_agg(concat_ws(' ', oid, xmin), ',' ORDER BY oid)) FROM pg_attrdef \
         WHERE adrelid IN (SELECT oid FROM lasting) \
  UNION ALL SELECT md5(string_agg(concat_ws(' ', oid, xmin), ',' ORDER BY oid)) FROM pg_proc WHERE oid > 16383 \
  UNION ALL SELECT md5(string_agg(concat_ws(' ', oid, xmin), ',' ORDER BY oid)) FROM pg_trigger \
  UNION ALL SELECT md5(string_agg(concat_ws(' ', oid, xmin), ',' ORDER BY oid)) FROM pg_rewrite WHERE oid > 16383 \
  UNION ALL SELECT md5(string_agg(concat_ws(' ', oid, xmin), ',' ORDER BY oid)) FROM pg_namespace \
         WHERE oid IN (SELECT oid FROM spaces) \
  UNION ALL SELECT md5(string_agg(concat_ws(' ', oid, xmin), ',' ORDER BY oid)) FROM pg_enum \
  UNION ALL SELECT md5(string_agg(concat_ws(' ', inhrelid, inhparent, xmin), ',' ORDER BY inhrelid, inhparent)) \
         FROM pg_inherits \
  UNION ALL SELECT md5(string_agg(concat_ws(' ', oid, xmin), ',' ORDER BY oid)) FROM pg_policy \
  UNION ALL SELECT md5(string_agg(concat_ws(' ', oid, xmin), ',' ORDER BY oid)) FROM pg_event_trigger \
  UNION ALL SELECT md5(string_agg(concat_ws(' ', oid, xmin), ',' ORDER BY oid)) FROM pg_extension \
  UNION ALL SELECT md5(string_agg(concat_ws(' ', oid, xmin), ',' ORDER BY oid)) FROM pg_publication \
  UNION ALL SELECT md5(string_agg(concat_ws(' ', seqrelid, xmin), ',' ORDER BY seqrelid)) FROM pg_sequence \
         WHERE seqrelid IN (SELECT oid FROM lasting) \
  UNION ALL SELECT md5(string_agg(concat_ws(' ', oid, xmin), ',' ORDER BY oid)) FROM pg_operator WHERE oid > 16383 \
  UNION ALL SELECT md5(string_agg(concat_ws(' ', oid, xmin), ',' ORDER BY oid)) FROM pg_collation WHERE oid > 16383 \
  UNION ALL SELECT md5(string_agg(concat_ws(' ', oid, xmin), ',' ORDER BY oid)) FROM pg_cast WHERE oid > 16383 \
  UNION ALL SELECT md5(string_agg(concat_ws(' ', oid, xmin), ',' ORDER BY oid)) FROM pg_default_acl \
  UNION ALL SELECT md5(string_agg(concat_ws(' ', objoid, classoid, objsubid, xmin), ',' ORDER BY classoid, objoid, \
         objsubid)) FROM pg_description WHERE objoid > 16383 \
) parts";

/// A table of the survey.
#[derive(Clone, Debug)]
pub(crate) struct SurveyedTable {
    /// As the manifest will list it; sum and size come with the rows.
    pub(crate) described: Table,
    /// Its size on the server's disk, with what its long values take beside it.
    pub(crate) bytes: u64,
    /// The size of its rows' own file, of which ranges are made.
    pub(crate) heap_bytes: u64,
    /// Its file in the snapshot. TRUNCATE and whatever rewrites a table give it another one, in which rows that the
    /// snapshot should see are not, and COPY does not say so.
    pub(crate) file: u32,
}

impl SurveyedTable {
    fn columns(&self) -> Vec<String> {
        let plain = self.described.columns.iter().filter(|column| !column.generated);
        plain.map(|column| quote_ident(&column.name)).collect()
    }

    /// Schema and name, for people.
    pub(crate) fn title(&self) -> String {
        format!("{}.{}", self.described.schema, self.described.name)
    }

    fn name(&self) -> String {
        format!("{}.{}", quote_ident(&self.described.schema), quote_ident(&self.described.name))
    }

    /// COPY of all its rows. A table without columns has rows too: empty lines.
    pub(crate) fn copy_whole(&self) -> String {
        let columns = self.columns();
        let list = if columns.is_empty() { String::new() } else { format!(" ({})", columns.join(", ")) };
        format!("COPY {}{list} TO STDOUT", self.name())
    }

    /// COPY of the rows on pages from `from`, below `to`.
    pub(crate) fn copy_range(&self, from: u64, to: Option<u64>) -> String {
        let below = to.map(|to| format!(" AND ctid < '({to},0)'::tid")).unwrap_or_default();
        let (columns, name) = (self.columns().join(", "), self.name());
        format!("COPY (SELECT {columns} FROM ONLY {name} WHERE ctid >= '({from},0)'::tid{below}) TO STDOUT")
    }
}

/// What the snapshot holds.
#[derive(Debug)]
pub(crate) struct Survey {
    pub(crate) tables: Vec<SurveyedTable>,
    pub(crate) sequences: Vec<Sequence>,
    pub(crate) extensions: Vec<Extension>,
    pub(crate) database: Database,
    pub(crate) taken_at: Timestamp,
    pub(crate) passed_over: Vec<u32>,
    pub(crate) warnings: Vec<String>,
}

impl Survey {
    /// Reads the catalog in the snapshot of `session`.
    pub(crate) async fn take(session: &mut Session) -> Result<Self, BaseTakeError> {
        let mut columns = columns(session).await?;
        let forced = forced(session).await?;
        let (tables, version) = (rows(session, TABLES).await?, session.version_num());
        let tables = tables.iter().map(|row| table(row, &mut columns, &forced, version)).collect::<Result<_, _>>()?;
        let database = session.one_row(DATABASE).await?;
        let extensions = rows(session, EXTENSIONS).await?;
        let of_extensions = rows(session, OF_EXTENSIONS).await?;
        let extension = |row: &Row| -> Result<_, BaseTakeError> {
            Ok(Extension { name: text(row, 0)?, schema: text(row, 1)?, version: text(row, 2)? })
        };
        Ok(Self {
            tables,
            sequences: sequences(session).await?,
            extensions: extensions.iter().map(extension).collect::<Result<_, _>>()?,
            taken_at: Timestamp::from_micros(number(&database, 4)?),
            database: Database {
                name: text(&database, 0)?,
                encoding: text(&database, 1)?,
                collate: text(&database, 2)?,
                ctype: text(&database, 3)?,
            },
            passed_over: of_extensions.iter().map(|row| number(row, 0)).collect::<Result<_, _>>()?,
            warnings: warnings(session).await?.into_iter().chain(passed_over(&of_extensions)).collect(),
        })
    }

    /// The size of all tables on the server's disk.
    pub(crate) fn bytes(&self) -> u64 {
        self.tables.iter().map(|table| table.bytes).sum()
    }
}

/// The schema's fingerprint, as committed now.
pub(crate) async fn fingerprint(session: &mut Session) -> Result<String, BaseTakeError> {
    text(&session.one_row(FINGERPRINT).await?, 0)
}

async fn rows(session: &mut Session, sql: &str) -> Result<Vec<Row>, BaseTakeError> {
    Ok(session.simple(sql).await?.into_iter().flatten().collect())
}

fn text(row: &Row, column: usize) -> Result<String, BaseTakeError> {
    row.get(column).map(str::to_owned).ok_or(BaseTakeError::Catalog { what: "a text" })
}

fn number<T: std::str::FromStr>(row: &Row, column: usize) -> Result<T, BaseTakeError> {
    row.get(column).and_then(|text| text.parse().ok()).ok_or(BaseTakeError::Catalog { what: "a number" })
}

/// A column, and its place in the identity's index: 0 for none.
type Placed = (TableColumn, usize);

async fn columns(session: &mut Session) -> Result<BTreeMap<u32, Vec<Placed>>, BaseTakeError> {
    let mut all = BTreeMap::<u32, Vec<Placed>>::new();
    for row in rows(session, COLUMNS).await? {
        // indkey counts from 0, and what an index only includes stands behind its key.
        let place: usize = number(&row, 6)?;
        let column = TableColumn {
            attnum: number(&row, 1)?,
            name: text(&row, 2)?,
            type_oid: number(&row, 3)?,
            typmod: number(&row, 4)?,
            generated: row.get(5) == Some("t"),
            in_key: false,
        };
        all.entry(number(&row, 0)?).or_default().push((column, place));
    }
    Ok(all)
}

async fn forced(session: &mut Session) -> Result<BTreeMap<u32, char>, BaseTakeError> {
    let there = session.one_row("SELECT to_regclass('holdfast.forced_identity') IS NOT NULL").await?;
    if there.get(0) != Some("t") {
        return Ok(BTreeMap::new());
    }
    let forced = rows(session, FORCED).await?;
    forced.iter().map(|row| Ok((number(row, 0)?, number(row, 1)?))).collect()
}

fn table(
    row: &Row,
    columns: &mut BTreeMap<u32, Vec<Placed>>,
    forced: &BTreeMap<u32, char>,
    version: u32,
) -> Result<SurveyedTable, BaseTakeError> {
    let relid: u32 = number(row, 0)?;
    let placed = columns.remove(&relid).unwrap_or_default();
    // The stream does not carry what is generated: by a key with such a column its rows cannot be told apart.
    let is_computed = placed.iter().any(|(column, place)| *place > 0 && column.generated);
    let identity = match (row.get(4), row.get(6), row.get(7)) {
        // From PostgreSQL 18 on its updates fail, or are not published.
        (Some("f"), _, _) if version >= 180_000 && placed.iter().any(|(column, _)| column.generated) => {
            Identity::Nothing
        }
        (Some("f"), _, _) => Identity::Full,
        (_, Some(_), Some(_)) if is_computed => Identity::Nothing,
        (_, Some(index_name), Some(index_schema)) => Identity::Key {
            index_schema: index_schema.to_owned(),
            index_name: index_name.to_owned(),
            constraint: row.get(8).map(str::to_owned),
            columns: key_columns(&placed),
        },
        (_, _, _) => Identity::Nothing,
    };
    let is_key = |name: &String| matches!(&identity, Identity::Key { columns, .. } if columns.contains(name));
    let columns = placed.into_iter();
    let columns = columns.map(|(column, _)| TableColumn { in_key: is_key(&column.name), ..column }).collect();
    let described = Table {
        relid,
        schema: text(row, 1)?,
        name: text(row, 2)?,
        kind: if row.get(3) == Some("t") { TableKind::Leaf } else { TableKind::Ordinary },
        columns,
        identity,
        identity_before: forced.get(&relid).copied(),
        sum: RowSum::default(),
        bytes: 0,
        read_at: None,
    };
    Ok(SurveyedTable { described, bytes: number(row, 5)?, heap_bytes: number(row, 10)?, file: number(row, 9)? })
}

fn key_columns(placed: &[Placed]) -> Vec<String> {
    let mut key: Vec<_> = placed.iter().filter(|(_, place)| *place > 0).collect();
    key.sort_by_key(|(_, place)| *place);
    key.into_iter().map(|(column, _)| column.name.clone()).collect()
}

async fn sequences(session: &mut Session) -> Result<Vec<Sequence>, BaseTakeError> {
    let mut sequences = Vec::new();
    for row in rows(session, SEQUENCES).await? {
        let (schema, name) = (text(&row, 0)?, text(&row, 1)?);
        // With the lock of one in its hands it waits for no other: who changes several sequences would stand in a deadlock.
        let read = format!("SELECT last_value, is_called FROM {}.{}", quote_ident(&schema), quote_ident(&name));
        let state = session.one_row(&format!("SAVEPOINT one; {read}; ROLLBACK TO SAVEPOINT one")).await?;
        let is_called = state.get(1) == Some("t");
        sequences.push(Sequence { schema, name, last_value: number(&state, 0)?, is_called });
    }
    Ok(sequences)
}

/// What a person should know of the tables of extensions, if there are any.
fn passed_over(tables: &[Row]) -> Option<String> {
    let name = |row: &Row| Some(format!("{}.{}", row.get(1)?, row.get(2)?));
    let names: Vec<_> = tables.iter().filter_map(name).collect();
    let many = names.len();
    let said = "of extensions are not captured: they come back as the extension makes them";
    (many > 0).then(|| format!("{many} tables {said} ({})", names.join(", ")))
}

async fn warnings(session: &mut Session) -> Result<Vec<String>, BaseTakeError> {
    let row = session.one_row(WARNINGS).await?;
    let said = [
        "large objects are not in this base: their rows refer to nothing after a restore",
        "unlogged tables come back empty",
        "foreign tables come back without a connection to where their rows are",
        "materialized views come back empty: run REFRESH MATERIALIZED VIEW",
    ];
    let counts = (0..said.len()).map(|column| number::<u64>(&row, column)).collect::<Result<Vec<_>, _>>()?;
    let there = counts.into_iter().zip(said).filter(|(count, _)| *count > 0);
    Ok(there.map(|(count, said)| format!("{count} {said}")).collect())
}
