//! Takes out of a database what `init` put there, and gives tables the identities that they had.
//!
//! The slot goes first: while a daemon still captures, nothing is undone. The list of forced identities goes last, so
//! that what was interrupted can be repeated.

use std::time::Duration;

use crate::clock::{Clock, sleep};
use crate::connect::Session;
use crate::model::SourceName;
use crate::source::error::{SourceError, SourceErrorKind};
use crate::source::postgres::catalog::{flag, number, texts};
use crate::source::postgres::init::{InitReport, Run, Voice, Work, failed};
use crate::source::postgres::names;
use crate::source::postgres::patience::outlive_writers;

/// How long a slot may stay in use.
const RELEASE_WAIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);

/// Undoes `init`, as a superuser. Safe to repeat, and to run where `init` never was.
pub async fn remove(
    session: &mut Session,
    clock: &dyn Clock,
    source: &SourceName,
    run: Run,
) -> Result<InitReport, SourceError> {
    let mut work = Work { session, clock, run, report: InitReport::default(), said: false };
    work.drop_slot(source).await?;
    let others = "select slot_name from pg_replication_slots where database = current_database()
        and plugin = 'pgoutput' and not temporary and slot_name like 'holdfast\\_%'";
    let others = texts(work.session, others).await.map_err(failed)?;
    let others: Vec<_> = others.into_iter().filter(|slot| *slot != names::slot(source)).collect();
    if !others.is_empty() {
        let kept = format!("kept what slot {} still needs; remove those sources too", others.join(", "));
        work.report.warnings.push(kept);
        return Ok(work.report);
    }
    work.drop_publications().await?;
    work.drop_triggers().await?;
    work.put_identities_back(Voice::Silent).await?;
    work.drop_schema().await?;
    Ok(work.report)
}

impl Work<'_> {
    async fn drop_slot(&mut self, source: &SourceName) -> Result<(), SourceError> {
        let slot = names::slot(source);
        let sql =
            format!("select active_pid, active_pid is not null from pg_replication_slots where slot_name = '{slot}'");
        let due = self.clock.tick().after(RELEASE_WAIT);
        loop {
            let rows = self.session.simple(&sql).await.map_err(failed)?;
            let Some(row) = rows.first().and_then(|rows| rows.first()) else { return Ok(()) };
            if !flag(row, 1) {
                break;
            }
            if self.clock.tick() >= due {
                let pid = number(row, 0).map_err(failed)?;
                return Err(SourceErrorKind::SlotBusy { slot, pid }.when("removing what init made"));
            }
            sleep(self.clock, POLL).await;
        }
        let drop = format!("select pg_drop_replication_slot('{slot}')");
        self.act(&format!("replication slot {slot} dropped"), &drop).await
    }

    async fn drop_publications(&mut self) -> Result<(), SourceError> {
        for publication in [names::PUBLICATION_KEYED, names::PUBLICATION] {
            let gone = format!("select not exists (select from pg_publication where pubname = '{publication}')");
            if !self.holds(&gone).await? {
                let sql = format!("drop publication {publication}");
                self.act(&format!("publication {publication} dropped"), &sql).await?;
            }
        }
        Ok(())
    }

    async fn drop_triggers(&mut self) -> Result<(), SourceError> {
        for trigger in names::TRIGGERS {
            let there = format!("select exists (select from pg_event_trigger where evtname = '{trigger}')");
            if self.holds(&there).await? {
                let sql = format!("drop event trigger {trigger}");
                self.act(&format!("event trigger {trigger} dropped"), &sql).await?;
            }
        }
        // A trigger that has run in an open transaction may have forced an identity that we do not see yet.
        let schema = format!("select to_regnamespace('{}') is not null", names::SCHEMA);
        if self.run == Run::Do && self.holds(&schema).await? {
            outlive_writers(self.session, self.clock).await?;
        }
        Ok(())
    }

    async fn drop_schema(&mut self) -> Result<(), SourceError> {
        let schema = names::SCHEMA;
        if !self.holds(&format!("select to_regnamespace('{schema}') is not null")).await? {
            return Ok(());
        }
        // Named one by one and without CASCADE: what somebody else put into the schema is not ours to drop.
        let sql = format!(
            "drop function if exists {schema}.on_ddl(), {schema}.on_drop(), {schema}.on_rewrite(),
                 {schema}.say(text, text, bigint, boolean), {schema}.tend_identity(oid), {schema}.is_ours();
             drop view if exists {schema}.forced_identity; drop table if exists {schema}.identity_change;
             drop schema {schema}"
        );
        self.act(&format!("schema {schema} dropped"), &sql).await
    }
}
