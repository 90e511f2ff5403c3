//! What the server and the role must allow before anything can be captured.

use crate::clock::Clock;
use crate::connect::{ConnectError, ConnectTarget, Mode, Session};
use crate::model::Timestamp;
use crate::source::postgres::base::Tools;
use crate::source::postgres::catalog::{flag, number, text};
use crate::source::postgres::check::{CheckPlan, Finding, rows};
use crate::source::postgres::init::VERSION_MIN;
use crate::source::postgres::names;

/// A clock that differs by more makes restores to a time surprising.
const CLOCK_MICROS_MAX: u64 = 1_000_000;

/// The first minor of each major whose logical decoding loses nothing when a publication changes, and which lets
/// partitioned tables without identity be updated.
const MINORS: [u32; 5] = [140_018, 150_013, 160_009, 170_006, 180_000];

pub(super) async fn versions(session: &Session) -> Finding {
    let (name, version) = ("versions", session.version_num());
    if version < VERSION_MIN {
        return Finding::failure(name, format!("the server is PostgreSQL {version}"), "upgrade it to 14 or later");
    }
    let tools = match Tools::find(version).await {
        Ok(tools) => tools.version().to_owned(),
        Err(error) => return Finding::failure(name, error.to_string(), "bases and restores need it on this machine"),
    };
    match MINORS.into_iter().find(|minor| minor / 10_000 == version / 10_000) {
        Some(minor) if version < minor => Finding::warning(
            name,
            format!("the server is {version}, whose logical decoding has known faults that {minor} has not"),
            "install the current minor version",
        ),
        Some(_) | None => Finding::ok(name, format!("server {version}, {tools}")),
    }
}

/// Roles and their memberships are the cluster's, and are read by a program of their own.
pub(super) async fn globals(session: &Session) -> Finding {
    let name = "globals";
    let Ok(tools) = Tools::find(session.version_num()).await else {
        return Finding::ok(name, "they need the program that is missing");
    };
    match tools.try_globals(session.target()).await {
        Ok(()) => Finding::ok(name, "pg_dumpall reads them"),
        Err(error) => {
            let causes = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            let remedy = "bases need them: let the role read pg_roles and pg_auth_members, and pg_hba.conf let it in";
            Finding::failure(name, format!("{error}{causes}"), remedy)
        }
    }
}

pub(super) async fn settings(session: &mut Session) -> Result<Vec<Finding>, ConnectError> {
    let row = session
        .one_row(
            "select current_setting('wal_level'), current_setting('max_slot_wal_keep_size'),
                 current_setting('logical_decoding_work_mem'),
                 (select setting::bigint from pg_settings where name = 'logical_decoding_work_mem') < 65536",
        )
        .await?;
    let level = text(&row, 0)?;
    let level = if level == "logical" {
        Finding::ok("wal_level", level)
    } else {
        let remedy = "run ALTER SYSTEM SET wal_level = 'logical' and restart the server";
        Finding::failure("wal_level", level, remedy)
    };
    let keep = text(&row, 1)?;
    let keep = if keep == "-1" {
        Finding::warning(
            "max_slot_wal_keep_size",
            "unset: while Holdfast is down, its slot may fill the server's disk",
            "run ALTER SYSTEM SET max_slot_wal_keep_size = '…' with what the disk can spare, then SELECT pg_reload_conf()",
        )
    } else {
        Finding::ok("max_slot_wal_keep_size", keep)
    };
    let memory = format!("{}; our stream raises its own", text(&row, 2)?);
    let memory = if flag(&row, 3) {
        let remedy = "nothing, unless other subscribers should spill less: then 64MB";
        Finding::warning("logical_decoding_work_mem", memory, remedy)
    } else {
        Finding::ok("logical_decoding_work_mem", memory)
    };
    Ok(vec![level, keep, memory])
}

pub(super) async fn rights(session: &mut Session) -> Result<Vec<Finding>, ConnectError> {
    let sql = "select rolsuper, rolreplication, pg_has_role(current_user, 'pg_read_all_data', 'usage'),
            rolbypassrls or not exists (select from pg_class where relkind in ('r', 'p') and relrowsecurity),
            quote_ident(rolname),
            (select string_agg(c.oid::regclass::text, ', ') from (
                select c.oid from pg_class c where c.relkind = 'r' and c.relpersistence = 'p' and c.oid >= 16384
                    and not has_table_privilege(c.oid, 'select') order by c.oid limit 3) c)
        from pg_roles where rolname = current_user";
    let row = session.one_row(sql).await?;
    let name = "rights";
    if flag(&row, 0) {
        return Ok(vec![Finding::ok(name, "superuser")]);
    }
    let role = text(&row, 4)?.to_owned();
    let mut found = Vec::new();
    if !flag(&row, 1) {
        let what = format!("role {role} may not replicate");
        found.push(Finding::failure(name, what, format!("run ALTER ROLE {role} REPLICATION")));
    }
    if let Some(tables) = row.get(5).filter(|_| !flag(&row, 2)) {
        let what = format!("role {role} may not read {tables} …");
        found.push(Finding::failure(name, what, format!("run GRANT pg_read_all_data TO {role}")));
    }
    if !flag(&row, 3) {
        let what = format!("row security would hide rows of some tables from role {role}");
        found.push(Finding::failure(name, what, format!("run ALTER ROLE {role} BYPASSRLS")));
    }
    let passwords = "passwords of roles are not in bases: reading them needs a superuser";
    found.push(Finding::warning(name, passwords, "nothing, if roles are made anew elsewhere"));
    Ok(found)
}

/// Whether `pg_hba.conf` lets a replication session in is known only once one was opened.
pub(super) async fn replication(target: &ConnectTarget, clock: &dyn Clock) -> Finding {
    let name = "replication session";
    let error = match Session::connect(target, Mode::Replication, clock, &[]).await {
        Ok(mut session) => match session.identify_system().await {
            Ok(identity) => {
                session.close().await;
                return Finding::ok(name, format!("system {}, timeline {}", identity.system_id, identity.timeline));
            }
            Err(error) => error,
        },
        Err(error) => error,
    };
    match error.server() {
        Some(said) => Finding::failure(name, said.to_string(), "allow it in pg_hba.conf, and max_wal_senders above 0"),
        None => Finding::unknown(name, &error),
    }
}

pub(super) async fn room(session: &mut Session, plan: &CheckPlan) -> Result<Vec<Finding>, ConnectError> {
    let sql = format!(
        "select current_setting('max_replication_slots')::int - (select count(*) from pg_replication_slots),
             current_setting('max_wal_senders')::int - (select count(*) from pg_stat_replication),
             exists (select from pg_replication_slots where slot_name = '{slot}'),
             exists (select from pg_replication_slots where slot_name = '{slot}' and active)",
        slot = names::slot(&plan.source)
    );
    let row = session.one_row(&sql).await?;
    let enough = |name: &'static str, free: i64, taken: bool, setting: &str| {
        // One for the stream, and one for a base while it is taken.
        let wanted = if taken { 1 } else { 2 };
        if free >= wanted {
            Finding::ok(name, format!("{free} free"))
        } else {
            let remedy = format!("raise {setting} by {} or more, and restart the server", wanted - free);
            Finding::failure(name, format!("{free} free, {wanted} needed"), remedy)
        }
    };
    Ok(vec![
        enough("slots left", number(&row, 0)?, flag(&row, 2), "max_replication_slots"),
        enough("senders left", number(&row, 1)?, flag(&row, 3), "max_wal_senders"),
    ])
}

pub(super) async fn network(session: &mut Session) -> Result<Vec<Finding>, ConnectError> {
    let target = session.target().clone();
    let loopback = matches!(target.host(), "localhost" | "127.0.0.1" | "::1");
    if target.is_unix() || loopback {
        return Ok(vec![Finding::ok("network", "the server is on this machine")]);
    }
    let row = session.one_row("select ssl, version from pg_stat_ssl where pid = pg_backend_pid()").await?;
    Ok(vec![if flag(&row, 0) {
        Finding::ok("network", row.get(1).unwrap_or("TLS"))
    } else {
        let remedy = "set ssl = on at the server and sslmode=verify-full in the URL";
        Finding::warning("network", "rows cross the network in clear text", remedy)
    }])
}

pub(super) async fn clock(session: &mut Session, clock: &dyn Clock) -> Result<Vec<Finding>, ConnectError> {
    let before = clock.now();
    let row = session.one_row("select (extract(epoch from clock_timestamp()) * 1000000)::bigint").await?;
    let after = clock.now();
    let theirs = Timestamp::from_micros(number(&row, 0)?);
    let ours = before.micros().midpoint(after.micros());
    let apart = theirs.micros().abs_diff(ours).saturating_sub(after.micros().abs_diff(before.micros()));
    let what = format!("{} ms apart", apart / 1000);
    Ok(vec![if apart <= CLOCK_MICROS_MAX {
        Finding::ok("clock", what)
    } else {
        let remedy = "let both machines ask a time server; commit times are the server's, ages are ours";
        Finding::warning("clock", what, remedy)
    }])
}

pub(super) async fn open_transactions(session: &mut Session) -> Result<Vec<Finding>, ConnectError> {
    let name = "open transactions";
    let sql = "select format('prepared transaction %L of %s (database %s) since %s', gid, owner, database, prepared)
            from pg_prepared_xacts where prepared < now() - interval '1 minute'
        union all select format('process %s of %s (%s, database %s), writing since %s', pid, usename, application_name,
            datname, xact_start)
            from pg_stat_activity where backend_xid is not null and xact_start < now() - interval '10 minutes'";
    let remedy = "end it: until then no slot can be made, so no base either, and the server keeps its log";
    let found: Vec<_> = rows(session, sql)
        .await?
        .iter()
        .filter_map(|row| row.get(0))
        .map(|who| Finding::warning(name, who, remedy))
        .collect();
    Ok(if found.is_empty() { vec![Finding::ok(name, "none is old")] } else { found })
}
