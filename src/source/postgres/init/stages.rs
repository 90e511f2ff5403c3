//! The stages of `init`, each of which asks what is there and adds what is missing.

use std::time::Duration;

use crate::clock::sleep;
use crate::connect::{SlotLife, SlotSnapshot, quote_ident, quote_literal};
use crate::model::SourceName;
use crate::source::error::{SourceError, SourceErrorKind};
use crate::source::postgres::catalog::{flag, named, texts};
use crate::source::postgres::init::{DOING, IdentityRule, Run, Voice, Work, failed};
use crate::source::postgres::names;
use crate::source::postgres::patience::{Wanted, create_slot, outlive_writers};
use crate::step::Step;

/// The first version with `messages` in its stream.
pub(in crate::source::postgres) const VERSION_MIN: u32 = 140_000;

/// From this version on an identity with a generated column makes UPDATE and DELETE fail.
const GENERATED_FAILS: u32 = 180_000;
/// Slots of ours in this database.
const OUR_SLOTS: &str = "select slot_name, active_pid from pg_replication_slots where database = current_database()
    and plugin = 'pgoutput' and not temporary and slot_name like 'holdfast\\_%'";
/// How long whoever captures may take to read what was written just now.
const READ_WITHIN: Duration = Duration::from_secs(10);
const READ_POLL: Duration = Duration::from_millis(100);

fn unfit(what: impl Into<String>, remedy: impl Into<String>) -> SourceError {
    SourceErrorKind::Unfit { what: what.into(), remedy: remedy.into() }.when(DOING)
}

impl Work<'_> {
    /// Refuses a server or a role that cannot do it, before anything is changed.
    pub(super) async fn fit(&mut self, identity: IdentityRule) -> Result<(), SourceError> {
        let version = self.session.version_num();
        if version < VERSION_MIN {
            return Err(unfit(
                format!("the server is PostgreSQL {version}"),
                "upgrade it to 14 or later: before, a stream cannot say that the schema changed",
            ));
        }
        if !self.holds("select current_setting('wal_level') = 'logical'").await? {
            return Err(unfit(
                "wal_level is not logical",
                "run ALTER SYSTEM SET wal_level = 'logical' and restart the server",
            ));
        }
        if !self.holds("select rolsuper from pg_roles where rolname = current_user").await? {
            return Err(unfit(
                "this role is no superuser, which event triggers and a publication for all tables need",
                "give a superuser's URL as `admin` of the source; it is used by init alone",
            ));
        }
        if version >= GENERATED_FAILS && identity == IdentityRule::Full {
            self.no_generated_identities().await?;
        }
        if self.holds("select setting = '-1' from pg_settings where name = 'max_slot_wal_keep_size'").await? {
            self.report.warnings.push(
                "max_slot_wal_keep_size is unset: while Holdfast is down, the slot may fill the server's disk; run \
                 ALTER SYSTEM SET max_slot_wal_keep_size = '…' with what the disk can spare, and SELECT pg_reload_conf()"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// An identity must not hold a generated column that is not published, and one of all columns holds every one.
    async fn no_generated_identities(&mut self) -> Result<(), SourceError> {
        let sql = "select c.oid::regclass::text from pg_class c
            where c.relkind = 'r' and c.relpersistence = 'p' and c.oid >= 16384
                and exists (select from pg_attribute a
                    where a.attrelid = c.oid and a.attgenerated <> '' and not a.attisdropped)
                and not exists (select from pg_index i
                    where i.indrelid = c.oid and i.indisvalid and i.indimmediate
                        and (c.relreplident = 'd' and i.indisprimary or c.relreplident = 'i' and i.indisreplident)
                        and not exists (select from pg_attribute a where a.attrelid = c.oid and a.attgenerated <> ''
                            and a.attnum = any ((i.indkey::int2[])[0:i.indnkeyatts - 1])))
            order by c.oid";
        let tables = texts(self.session, sql).await.map_err(failed)?;
        if tables.is_empty() {
            return Ok(());
        }
        Err(unfit(
            format!("UPDATE and DELETE would fail on {}, with a generated column and without a key", tables.join(", ")),
            "give them a primary key of other columns, or configure identity = \"leave\"",
        ))
    }

    pub(super) async fn schema(&mut self) -> Result<(), SourceError> {
        let schema = names::SCHEMA;
        let there = format!("select to_regnamespace('{schema}') is not null");
        self.ensure(&format!("schema {schema}"), &there, &format!("create schema {schema}")).await?;
        // Only ever appended to: in REPEATABLE READ, changing a row that another transaction changed would fail.
        let list = format!("{schema}.identity_change");
        let there = format!("select to_regclass('{schema}.forced_identity') is not null");
        let sql = format!(
            "create table if not exists {list} (entry bigint generated always as identity primary key, \
                 relid oid not null, relname text not null, before \"char\" not null, forced boolean not null);
             create view {schema}.forced_identity as select relid, relname, before
             from (select distinct on (relid) * from {list} order by relid, entry desc) last
             where forced and exists (select from pg_class where oid = relid and relkind = 'r' and relreplident = 'f')"
        );
        self.ensure(&format!("list of forced identities {schema}.forced_identity"), &there, &sql).await
    }

    /// The functions carry their own fingerprint, so that a newer Holdfast replaces them.
    pub(super) async fn functions(&mut self, identity: IdentityRule) -> Result<(), SourceError> {
        let (sql, mark) = (functions(identity), fingerprint(identity));
        let there = format!(
            "select coalesce(obj_description(to_regnamespace('{}'), 'pg_namespace') = '{mark}', false)",
            names::SCHEMA
        );
        let sql = format!("{sql}\ncomment on schema {} is '{mark}'", names::SCHEMA);
        self.ensure("functions of the event triggers", &there, &sql).await
    }

    pub(super) async fn triggers(&mut self) -> Result<(), SourceError> {
        let there = "select count(*) = 3 from pg_event_trigger
            where evtname in ('holdfast_ddl', 'holdfast_drop', 'holdfast_rewrite') and evtenabled = 'A'";
        let sql = format!(
            "drop event trigger if exists holdfast_ddl; drop event trigger if exists holdfast_drop; \
             drop event trigger if exists holdfast_rewrite;\n{}",
            include_str!("../sql/triggers.sql")
        );
        self.ensure("event triggers", there, &sql).await
    }

    /// `identity = full`: one publication for everything, once nothing would fail because of it.
    pub(super) async fn publish_everything(&mut self) -> Result<(), SourceError> {
        let what = format!("publication {} for all tables", names::PUBLICATION);
        let published = self.published().await?;
        if published == Some(Published::Everything) {
            self.tend(IdentityRule::Full).await?;
            self.report.already.push(what);
            return Ok(());
        }
        if self.run == Run::Do {
            outlive_writers(self.session, self.clock).await?;
        }
        self.tend(IdentityRule::Full).await?;
        self.act(&what, &publish(published, "insert, update, delete, truncate")).await?;
        if self.run == Run::Do {
            // A command that began just before the triggers were there, and wrote only then, ran without them.
            self.tend(IdentityRule::Full).await?;
        }
        Ok(())
    }

    /// `identity = leave`: the publication for all tables says nothing about updates and deletes.
    pub(super) async fn publish_inserts(&mut self) -> Result<(), SourceError> {
        let what = format!("publication {} of inserts and truncates of all tables", names::PUBLICATION);
        let published = self.published().await?;
        if published == Some(Published::InsertsAndTruncates) {
            self.report.already.push(what);
            return Ok(());
        }
        if published.is_none() {
            return self.act(&what, &publish(published, "insert, truncate")).await;
        }
        if self.run == Run::Do {
            // What the second publication is to say must not be missing for as long as it takes to fill it.
            self.join_keyed().await?;
            self.read_up_to_here().await?;
        }
        // A daemon that was configured for everything reads on from this one publication, and no update comes any more.
        self.act_in(Voice::Aloud, &what, &publish(published, "insert, truncate")).await
    }

    /// A stream that asks for two publications cannot read changes from before the second one was made: who captures now
    /// should read them with the one.
    async fn read_up_to_here(&mut self) -> Result<(), SourceError> {
        let here = "select pg_logical_emit_message(true, 'holdfast.init', '')";
        let here = texts(self.session, here).await.map_err(failed)?.pop().unwrap_or_default();
        let behind = format!("{OUR_SLOTS} and confirmed_flush_lsn < '{here}'");
        let due = self.clock.tick().after(READ_WITHIN);
        while self.clock.tick() < due {
            let reading = texts(self.session, &format!("{behind} and active_pid is not null")).await.map_err(failed)?;
            if reading.is_empty() {
                break;
            }
            sleep(self.clock, READ_POLL).await;
        }
        for slot in texts(self.session, &behind).await.map_err(failed)? {
            self.report.warnings.push(format!(
                "slot {slot} was not read up to here: what it holds back may be refused to a daemon that is configured for \
                 identity = \"leave\"; let the daemon run while the rule is changed"
            ));
        }
        Ok(())
    }

    /// Who reads from a slot of ours was configured before: its next session compares what is published with what it wants.
    pub(super) async fn end_sessions(&mut self) -> Result<(), SourceError> {
        if !self.said {
            return Ok(());
        }
        let sql = format!("select pg_terminate_backend(active_pid) from ({OUR_SLOTS}) s where active_pid is not null");
        self.session.simple(&sql).await.map(drop).map_err(failed)
    }

    pub(super) async fn keyed_is_there(&mut self) -> Result<(), SourceError> {
        let keyed = names::PUBLICATION_KEYED;
        let there = format!("select exists (select from pg_publication where pubname = '{keyed}')");
        let sql = format!("create publication {keyed} with (publish = 'update, delete')");
        self.ensure(&format!("publication {keyed} of updates and deletes"), &there, &sql).await
    }

    pub(super) async fn keyed_is_gone(&mut self) -> Result<(), SourceError> {
        let keyed = names::PUBLICATION_KEYED;
        if self.holds(&format!("select exists (select from pg_publication where pubname = '{keyed}')")).await? {
            self.act(&format!("publication {keyed} dropped"), &format!("drop publication {keyed}")).await?;
        }
        Ok(())
    }

    async fn published(&mut self) -> Result<Option<Published>, SourceError> {
        let publication = names::PUBLICATION;
        let sql = format!(
            "select puballtables, pubinsert and pubtruncate, pubupdate and pubdelete, pubupdate or pubdelete, pubviaroot
             from pg_publication where pubname = '{publication}'"
        );
        let rows = self.session.simple(&sql).await.map_err(failed)?;
        let Some(row) = rows.first().and_then(|rows| rows.first()) else { return Ok(None) };
        match [0, 1, 2, 3, 4].map(|column| flag(row, column)) {
            [true, true, true, true, false] => Ok(Some(Published::Everything)),
            [true, true, false, false, false] => Ok(Some(Published::InsertsAndTruncates)),
            _ => Err(unfit(
                format!("there is a publication {publication} that is not one of ours"),
                format!("look who uses it; if nobody does, run DROP PUBLICATION {publication}"),
            )),
        }
    }

    /// What the capturing role may do. Attributes of roles belong to the whole cluster: they are asked for, not given.
    pub(super) async fn rights(&mut self, role: &str) -> Result<(), SourceError> {
        let (name, literal) = (quote_ident(role), quote_literal(role));
        if !self.holds(&format!("select exists (select from pg_roles where rolname = {literal})")).await? {
            return Err(unfit(
                format!("there is no role {role:?}, which is to capture"),
                format!("run CREATE ROLE {name} LOGIN REPLICATION IN ROLE pg_read_all_data"),
            ));
        }
        let sql = format!("select rolsuper from pg_roles where rolname = {literal}");
        if self.holds(&sql).await? {
            return Ok(());
        }
        let schema = names::SCHEMA;
        let there = format!(
            "select case when to_regclass('{schema}.forced_identity') is null then false
             else has_schema_privilege({literal}, '{schema}', 'usage')
                 and has_table_privilege({literal}, '{schema}.forced_identity', 'select') end"
        );
        let sql =
            format!("grant usage on schema {schema} to {name}; grant select on {schema}.forced_identity to {name}");
        self.ensure(&format!("rights of {name} in schema {schema}"), &there, &sql).await?;
        let lacks: [(String, &str); 2] = [
            (
                format!("select not rolreplication from pg_roles where rolname = {literal}"),
                "cannot replicate; run ALTER ROLE … REPLICATION",
            ),
            (
                format!("select not pg_has_role({literal}, 'pg_read_all_data', 'usage')"),
                "cannot read every table; run GRANT pg_read_all_data TO …",
            ),
        ];
        for (query, what) in lacks {
            if self.holds(&query).await? {
                self.report.warnings.push(format!("role {name} {}", what.replace('…', &name)));
            }
        }
        Ok(())
    }

    /// The slot comes last: from here on the server keeps its log for us.
    pub(super) async fn slot(&mut self, source: &SourceName) -> Result<(), SourceError> {
        let slot = names::slot(source);
        let what = format!("replication slot {slot}");
        let sql = format!(
            "select coalesce(plugin, '') || ' of ' || coalesce(database, '') from pg_replication_slots \
             where slot_name = '{slot}'"
        );
        let wanted = format!("pgoutput of {}", self.session.target().database());
        match texts(self.session, &sql).await.map_err(failed)?.first() {
            Some(found) if *found == wanted => {
                self.report.already.push(what);
                return Ok(());
            }
            Some(found) => {
                return Err(unfit(
                    format!("there is a slot {slot}, but it is {found}"),
                    "give this source another name, or drop that slot if nobody uses it",
                ));
            }
            None => {}
        }
        if self.run == Run::Do {
            let name = |_| slot.clone();
            let wanted = Wanted { name: &name, life: SlotLife::Permanent, snapshot: SlotSnapshot::Nothing };
            let target = self.session.target().clone();
            let (maker, _) = create_slot(&target, self.clock, self.session, wanted).await?;
            maker.close().await;
            Step::InitStatement.reached();
        }
        self.report.done.push(what);
        Ok(())
    }
}

/// What our publication for all tables publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Published {
    Everything,
    InsertsAndTruncates,
}

/// Makes or changes the publication for all tables. One that is there is kept: a stream that still reads from before it
/// was made would not find it.
fn publish(published: Option<Published>, operations: &str) -> String {
    let publication = names::PUBLICATION;
    if published.is_some() {
        return format!("alter publication {publication} set (publish = '{operations}')");
    }
    format!(
        "create publication {publication} for all tables \
         with (publish = '{operations}', publish_via_partition_root = false)"
    )
}

fn functions(identity: IdentityRule) -> String {
    named(&format!("{}\n{}", include_str!("../sql/functions.sql"), tending(identity)))
}

/// By what the functions of this version are known: the comment on our schema.
pub(in crate::source::postgres) fn fingerprint(identity: IdentityRule) -> String {
    format!("Holdfast: {:032x}", xxhash_rust::xxh3::xxh3_128(functions(identity).as_bytes()))
}

const fn tending(identity: IdentityRule) -> &'static str {
    match identity {
        IdentityRule::Full => include_str!("../sql/tend_full.sql"),
        IdentityRule::Leave => include_str!("../sql/tend_leave.sql"),
    }
}
