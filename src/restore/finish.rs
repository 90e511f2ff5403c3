//! What comes after the rows: indexes and constraints at once, the rest in its order, sequences, identities.

use std::collections::VecDeque;
use std::sync::Mutex;

use futures::future::try_join_all;

use crate::apply::postgres::sql::OWN_SCHEMA;
use crate::codec::base::{Manifest, Table};
use crate::codec::sqltext::statements;
use crate::connect::{ConnectError, Session, quote_ident, quote_literal};
use crate::restore::database::Door;
use crate::restore::error::RestoreError;
use crate::restore::load::{quoted, title};
use crate::restore::plan::GapRule;
use crate::restore::progress::RestoreProgress;
use crate::restore::schema::{Item, names_owner};

/// A setting that the target's version does not know, or a tablespace that it does not have, is left out.
const UNKNOWN: [&str; 2] = ["42704", "22023"];

/// Runs one item; settings that the target does not know are told, not fatal.
pub async fn create(session: &mut Session, item: &Item, warnings: &mut Vec<String>) -> Result<(), RestoreError> {
    match session.simple(&item.sql).await {
        Ok(_) => Ok(()),
        Err(error) if item.title.is_empty() && error.sqlstate().is_some_and(|state| UNKNOWN.contains(&state)) => {
            warnings.push("the target does not know a setting of the schema, which is left out".to_owned());
            Ok(())
        }
        // Every new database has a schema public, whoever made the source's.
        Err(error) if item.title.starts_with("SCHEMA public") && error.sqlstate() == Some("42P06") => Ok(()),
        Err(error) => Err(failed(item, error)),
    }
}

/// What makes an item, and what names its owner where that may be refused: event triggers belong to superusers alone, and
/// the roles that a restore makes are none.
fn owners_apart(item: &Item) -> (String, Vec<String>) {
    if !item.title.starts_with("EVENT TRIGGER ") {
        return (item.sql.clone(), Vec::new());
    }
    let (owners, made): (Vec<_>, Vec<_>) =
        statements(&item.sql).unwrap_or_else(|_| vec![&item.sql]).into_iter().partition(|sql| names_owner(sql));
    (made.join("\n"), owners.into_iter().map(str::to_owned).collect())
}

/// Gives an item its owner; who may not own it here is told.
async fn give(session: &mut Session, item: &Item, owner: &str, warnings: &mut Vec<String>) -> Result<(), RestoreError> {
    match session.simple(owner).await {
        Err(error) if error.sqlstate() == Some("42501") => {
            warnings.push(format!(
                "{} belongs to the role that restored it: who owned it at the source lacks the right to here",
                item.title
            ));
            Ok(())
        }
        other => other.map(drop).map_err(|error| failed(item, error)),
    }
}

fn failed(item: &Item, error: ConnectError) -> RestoreError {
    let what = if item.title.is_empty() { "set a parameter of the schema" } else { item.title.as_str() };
    let hint = if item.title.starts_with("EXTENSION") { "; install its package on the target's server" } else { "" };
    RestoreError::session(format!("create {what}{hint}"))(error)
}

/// What an item is called that rows do not keep to, since a gap holds others that they would need.
pub fn left_out(item: &Item) -> String {
    format!("left out: {}, which the rows across the gap do not keep to", item.title)
}

/// Creates items that do not depend on one another, `jobs` at once. Gives those that were left out, where a gap was allowed.
pub async fn create_all(
    door: Door<'_>,
    items: &[Item],
    (jobs, across): (usize, GapRule),
    progress: &dyn RestoreProgress,
) -> Result<Vec<String>, RestoreError> {
    let omitted = Mutex::new(Vec::new());
    let queue = Mutex::new(items.iter().collect::<VecDeque<_>>());
    // Two that lock the same tables in another order: the server ends one, which is done again alone.
    let again = Mutex::new(Vec::new());
    let work = || async {
        let next = || queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop_front();
        let Some(mut item) = next() else { return Ok(()) };
        let mut session = door.open().await?;
        loop {
            match create_alone(&mut session, item).await {
                Err(error) if error.sqlstate() == Some("40P01") => {
                    again.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(item);
                }
                Err(error) => match failed(item, error) {
                    error if across == GapRule::Allow && error.is_about_rows() => {
                        omitted.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(left_out(item));
                    }
                    error => return Err(error),
                },
                Ok(()) => progress.advance(1),
            }
            item = match next() {
                Some(item) => item,
                None => break,
            };
        }
        session.close().await;
        Ok(())
    };
    try_join_all((0..jobs.clamp(1, items.len().max(1))).map(|_| work())).await?;
    let again = again.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    if !again.is_empty() {
        let mut session = door.open().await?;
        for item in again {
            create_alone(&mut session, item).await.map_err(|error| failed(item, error))?;
            progress.advance(1);
        }
        session.close().await;
    }
    Ok(omitted.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
}

async fn create_alone(session: &mut Session, item: &Item) -> Result<(), ConnectError> {
    for setting in &item.settings {
        match session.simple(setting).await {
            Err(error) if !error.sqlstate().is_some_and(|state| UNKNOWN.contains(&state)) => return Err(error),
            Ok(_) | Err(_) => {}
        }
    }
    session.simple(&item.sql).await.map(drop)
}

/// Sequences that a column takes its values from, because it owns them or because its default asks them, and the column.
const SERVED: &str = "SELECT s.oid::text, a.attname, n.nspname, c.relname, q.seqincrement, \
    quote_ident(m.nspname) || '.' || quote_ident(s.relname), m.nspname, s.relname \
    FROM (SELECT objid AS served, refobjid AS relid, refobjsubid AS attnum FROM pg_depend \
            WHERE classid = 'pg_class'::regclass AND refclassid = 'pg_class'::regclass AND deptype IN ('a', 'i') \
          UNION SELECT d.refobjid, f.adrelid, f.adnum FROM pg_depend d JOIN pg_attrdef f ON f.oid = d.objid \
            WHERE d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass) d \
    JOIN pg_class s ON s.oid = d.served AND s.relkind = 'S' JOIN pg_sequence q ON q.seqrelid = s.oid \
    JOIN pg_namespace m ON m.oid = s.relnamespace \
    JOIN pg_class c ON c.oid = d.relid JOIN pg_namespace n ON n.oid = c.relnamespace \
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.attnum AND NOT a.attisdropped \
    WHERE c.relkind IN ('r', 'p') AND a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)";

/// Sets every sequence as the base has it, and then on, where the rows are ahead of it: never behind its data. Gives the
/// names of those that no column's rows can tell of.
pub async fn set_sequences(session: &mut Session, manifest: &Manifest) -> Result<Vec<String>, RestoreError> {
    let mut alone: Vec<_> = manifest.sequences.iter().map(|one| (one.schema.clone(), one.name.clone())).collect();
    for sequence in &manifest.sequences {
        let name = format!("{}.{}", quote_ident(&sequence.schema), quote_ident(&sequence.name));
        let sql = format!(
            "SELECT setval({}::regclass, {}, {})",
            quote_literal(&name),
            sequence.last_value,
            sequence.is_called
        );
        let doing = RestoreError::session(format!("set sequence {}.{}", sequence.schema, sequence.name));
        session.simple(&sql).await.map_err(doing)?;
    }
    let look = RestoreError::session("look for the columns that sequences serve");
    let served = session.simple(SERVED).await.map_err(look)?;
    for row in served.into_iter().flatten() {
        let text = |column| row.get(column).unwrap_or_default().to_owned();
        alone.retain(|name| *name != (text(6), text(7)));
        let falling = text(4).starts_with('-');
        let (most, ahead) = if falling { ("min", "<") } else { ("max", ">") };
        let [oid, column, schema, table] =
            [text(0), quote_ident(&text(1)), quote_ident(&text(2)), quote_ident(&text(3))];
        let sql = format!(
            "SELECT setval({oid}::regclass, x.most, true) FROM (SELECT {most}({column}) AS most FROM {schema}.{table}) x, \
             (SELECT s.last_value::numeric - CASE WHEN s.is_called THEN 0 ELSE p.seqincrement END AS last, \
              p.seqmin, p.seqmax FROM pg_sequence p, {} s WHERE p.seqrelid = {oid}) q \
             WHERE x.most {ahead} q.last AND x.most BETWEEN q.seqmin AND q.seqmax",
            text(5)
        );
        let doing = RestoreError::session(format!("move the sequence of {}.{} behind its rows", text(2), text(3)));
        session.simple(&sql).await.map_err(doing)?;
    }
    Ok(alone.into_iter().map(|(schema, name)| format!("{schema}.{name}")).collect())
}

/// Takes back the replica identities that capture forced.
pub async fn give_identities_back(
    session: &mut Session,
    tables: impl Iterator<Item = &Table>,
    warnings: &mut Vec<String>,
) -> Result<(), RestoreError> {
    for table in tables {
        let identity = match table.identity_before {
            None | Some('f') => continue,
            Some('n') => "NOTHING",
            Some('d') => "DEFAULT",
            Some(_) => {
                warnings.push(format!(
                    "table {} had an index as its replica identity, which was unusable; it has the default now",
                    title(table)
                ));
                "DEFAULT"
            }
        };
        let sql = format!("ALTER TABLE ONLY {} REPLICA IDENTITY {identity}", quoted(table));
        let doing = RestoreError::session(format!("give table {} its replica identity back", title(table)));
        session.simple(&sql).await.map_err(doing)?;
    }
    Ok(())
}

/// The last step: the mark of incompleteness goes, and event triggers come, together: they would fire at it.
pub async fn unmark(
    session: &mut Session,
    event_triggers: &[Item],
    warnings: &mut Vec<String>,
) -> Result<(), RestoreError> {
    let doing = || RestoreError::session("create event triggers and complete the target");
    let (mut sql, mut owners) = (format!("BEGIN; DROP SCHEMA {OWN_SCHEMA} CASCADE;"), Vec::new());
    for item in event_triggers {
        let (made, of_item) = owners_apart(item);
        sql.push_str(&made);
        sql.push('\n');
        owners.extend(of_item.into_iter().map(|owner| (item, owner)));
    }
    session.simple(&sql).await.map_err(doing())?;
    for (item, owner) in owners {
        session.simple("SAVEPOINT owner").await.map_err(doing())?;
        let told = warnings.len();
        give(session, item, &owner, warnings).await?;
        if warnings.len() > told {
            session.simple("ROLLBACK TO SAVEPOINT owner").await.map_err(doing())?;
        }
    }
    session.simple("COMMIT").await.map(drop).map_err(doing())
}
