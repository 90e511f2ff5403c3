//! Whether what `init` made is there, whole, and covers everything.

use crate::connect::{ConnectError, Session, quote_literal};
use crate::model::Lsn;
use crate::source::postgres::catalog::{CapturedTable, Usable, captured_tables, flag, text};
use crate::source::postgres::check::{CheckPlan, Finding, rows};
use crate::source::postgres::init::{IdentityRule, fingerprint};
use crate::source::postgres::names;

const INIT: &str = "run `holdfast init`";

pub(super) async fn slot(session: &mut Session, plan: &CheckPlan) -> Result<Vec<Finding>, ConnectError> {
    let (name, slot) = ("slot", names::slot(&plan.source));
    let sql = format!(
        "select plugin = 'pgoutput' and database = current_database(), coalesce(wal_status, 'lost'),
             coalesce(confirmed_flush_lsn, '0/0'), pg_size_pretty(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn))
         from pg_replication_slots where slot_name = {}",
        quote_literal(&slot)
    );
    let rows = rows(session, &sql).await?;
    let Some(row) = rows.first() else {
        return Ok(vec![Finding::failure(name, format!("{slot} is missing"), INIT)]);
    };
    if !flag(row, 0) {
        let what = format!("{slot} is of another plugin or database");
        return Ok(vec![Finding::failure(name, what, "give the source another name, or drop that slot")]);
    }
    let confirmed: Lsn = text(row, 2)?.parse().unwrap_or(Lsn::ZERO);
    let behind = row.get(3).unwrap_or("nothing");
    Ok(vec![match (text(row, 1)?, plan.durable) {
        ("lost", _) => Finding::failure(
            name,
            format!("{slot} was invalidated: the server has forgotten what was not captured"),
            "start the daemon: it records the gap, makes a new slot and takes a new base; then raise \
             max_slot_wal_keep_size",
        ),
        (_, Some(durable)) if confirmed > durable => Finding::failure(
            name,
            format!("{slot} confirmed {confirmed}, the log holds only up to {durable}: what lies between is lost"),
            "start the daemon: it records the gap and takes a new base; and find out who else reads from the slot",
        ),
        ("unreserved", _) => Finding::warning(
            name,
            format!("{slot} keeps {behind} and will be invalidated at the next checkpoint"),
            "start the daemon now, or raise max_slot_wal_keep_size",
        ),
        (status, _) => Finding::ok(name, format!("{slot} is {status}, keeps {behind}")),
    }])
}

pub(super) async fn publications(session: &mut Session, plan: &CheckPlan) -> Result<Vec<Finding>, ConnectError> {
    let name = "publications";
    let (all, keyed) = (names::PUBLICATION, names::PUBLICATION_KEYED);
    let operations = match plan.identity {
        IdentityRule::Full => "itud",
        IdentityRule::Leave => "it",
    };
    let sql = format!(
        "select pubname, puballtables, pubviaroot, concat(case when pubinsert then 'i' end,
             case when pubtruncate then 't' end, case when pubupdate then 'u' end, case when pubdelete then 'd' end)
         from pg_publication where pubname in ('{all}', '{keyed}')"
    );
    let rows = rows(session, &sql).await?;
    let row = |wanted: &str| rows.iter().find(|row| row.get(0) == Some(wanted));
    let Some(first) = row(all) else {
        return Ok(vec![Finding::failure(name, format!("publication {all} is missing"), INIT)]);
    };
    let mut found = Vec::new();
    if !flag(first, 1) || flag(first, 2) || text(first, 3)? != operations {
        let what = format!("publication {all} does not publish what it should");
        found.push(Finding::failure(name, what, format!("{INIT}; if it refuses, run DROP PUBLICATION {all} first")));
    }
    if plan.identity == IdentityRule::Leave {
        match row(keyed) {
            None => found.push(Finding::failure(name, format!("publication {keyed} is missing"), INIT)),
            Some(row) if flag(row, 2) || text(row, 3)? != "ud" => {
                let what = format!("publication {keyed} does not publish updates and deletes of leaves");
                found.push(Finding::failure(name, what, format!("run DROP PUBLICATION {keyed}, then `holdfast init`")));
            }
            Some(_) => found.extend(narrowed(session).await?),
        }
    }
    if found.is_empty() {
        found.push(Finding::ok(name, "everything is published"));
    }
    Ok(found)
}

/// A column list or a row filter hides what it leaves out. PostgreSQL 14 has neither.
async fn narrowed(session: &mut Session) -> Result<Vec<Finding>, ConnectError> {
    if session.version_num() < 150_000 {
        return Ok(Vec::new());
    }
    let keyed = names::PUBLICATION_KEYED;
    let sql = format!(
        "select r.prrelid::regclass::text from pg_publication_rel r join pg_publication p on p.oid = r.prpubid
         where p.pubname = '{keyed}' and (r.prattrs is not null or r.prqual is not null)"
    );
    let tables = rows(session, &sql).await?;
    let narrowed = tables.iter().filter_map(|row| row.get(0)).map(|table| {
        let remedy = format!("run ALTER PUBLICATION {keyed} DROP TABLE {table}, then `holdfast init`");
        Finding::failure("publications", format!("{table} is published with a column list or a row filter"), remedy)
    });
    Ok(narrowed.collect())
}

pub(super) async fn triggers(session: &mut Session, plan: &CheckPlan) -> Result<Vec<Finding>, ConnectError> {
    let name = "event triggers";
    let ours = names::TRIGGERS.map(|name| format!("'{name}'")).join(", ");
    let sql = format!(
        "select evtname || case evtenabled when 'A' then '' else ' does not fire always' end
         from pg_event_trigger where evtname in ({ours}) order by 1"
    );
    let there = rows(session, &sql).await?;
    let there: Vec<_> = there.iter().filter_map(|row| row.get(0)).collect();
    if there != names::TRIGGERS {
        let what = format!("there should be three that fire always, there is: {}", there.join(", "));
        return Ok(vec![Finding::failure(name, what, INIT)]);
    }
    let sql = format!(
        "select obj_description(to_regnamespace('{0}'), 'pg_namespace'), string_agg(distinct rolname, ', ')
         from pg_proc p join pg_roles r on r.oid = p.proowner
         where p.pronamespace = to_regnamespace('{0}') and not r.rolsuper",
        names::SCHEMA
    );
    let mark = session.one_row(&sql).await?;
    if let Some(owner) = mark.get(1) {
        // They run as their owner, inside every DDL command of everybody.
        let what = format!("their functions belong to {owner}, who is no superuser any more: DDL fails");
        let remedy = format!("run ALTER ROLE {owner} SUPERUSER, or REASSIGN OWNED in schema {}", names::SCHEMA);
        return Ok(vec![Finding::failure(name, what, remedy)]);
    }
    Ok(vec![if mark.get(0) == Some(fingerprint(plan.identity).as_str()) {
        Finding::ok(name, "they fire always")
    } else {
        let what = "their functions are of another version of Holdfast, or for another rule of identity";
        Finding::warning(name, what, INIT)
    }])
}

pub(super) async fn identities(session: &mut Session, plan: &CheckPlan) -> Result<Vec<Finding>, ConnectError> {
    let (name, version) = ("replica identity", session.version_num());
    let tables = captured_tables(session).await?;
    let mut found: Vec<_> = tables.iter().filter_map(|table| identity(plan.identity, table)).collect();
    if version >= 180_000 {
        found.extend(virtual_columns(session).await?);
    }
    if found.is_empty() {
        found.push(Finding::ok(name, format!("all {} tables have one", tables.len())));
    }
    Ok(found)
}

fn identity(rule: IdentityRule, table: &CapturedTable) -> Option<Finding> {
    let (name, keyed, CapturedTable { name: table, usable, keyed: member, .. }) =
        ("replica identity", names::PUBLICATION_KEYED, table);
    match (rule, usable, member) {
        (IdentityRule::Full, Usable::No, _) => Some(Finding::failure(
            name,
            format!("{table} has none: its UPDATE and DELETE fail, or would"),
            format!("run ALTER TABLE ONLY {table} REPLICA IDENTITY FULL, or `holdfast check --fix`"),
        )),
        (IdentityRule::Leave, Usable::No, true) => Some(Finding::failure(
            name,
            format!("{table} has none and its updates are published: its UPDATE and DELETE fail"),
            format!("run ALTER PUBLICATION {keyed} DROP TABLE ONLY {table}, or `holdfast check --fix`"),
        )),
        (IdentityRule::Leave, Usable::Yes, false) => Some(Finding::failure(
            name,
            format!("updates and deletes of {table} are not published"),
            format!("run ALTER PUBLICATION {keyed} ADD TABLE ONLY {table}, or `holdfast check --fix`"),
        )),
        (IdentityRule::Leave, Usable::No, false) => Some(Finding::warning(
            name,
            format!("{table} has none: its updates and deletes are not captured"),
            format!("give it a key, or run ALTER TABLE ONLY {table} REPLICA IDENTITY FULL"),
        )),
        (IdentityRule::Full, Usable::Yes, _) | (IdentityRule::Leave, Usable::Yes, true) => None,
    }
}

/// From PostgreSQL 18 on an identity may not hold a generated column that is not published; FULL holds them all, and a
/// virtual one cannot be published.
async fn virtual_columns(session: &mut Session) -> Result<Vec<Finding>, ConnectError> {
    let sql = "select c.oid::regclass::text from pg_class c
        where c.relkind = 'r' and c.relpersistence = 'p' and c.relreplident = 'f' and exists (
            select from pg_attribute a where a.attrelid = c.oid and a.attgenerated <> '' and not a.attisdropped)";
    let tables = rows(session, sql).await?;
    let found = tables.iter().filter_map(|row| row.get(0)).map(|table| {
        let what = format!("{table} has REPLICA IDENTITY FULL and a generated column: its UPDATE and DELETE fail");
        Finding::failure("replica identity", what, format!("give {table} a primary key"))
    });
    Ok(found.collect())
}
