//! Sees to the identity of the tables that were there before the triggers, and puts back what was forced.

use crate::connect::{ConnectError, Session};
use crate::source::error::SourceError;
use crate::source::postgres::catalog::{CapturedTable, Usable, captured_tables, flag, number, text};
use crate::source::postgres::init::{IdentityRule, Voice, Work, failed};
use crate::source::postgres::names;

impl Work<'_> {
    /// Each table in a transaction of its own: no table stays locked while another is waited for (L12).
    pub(super) async fn tend(&mut self, identity: IdentityRule) -> Result<(), SourceError> {
        for table in captured_tables(self.session).await.map_err(failed)? {
            let (voice, what) = match (identity, table.usable, table.keyed) {
                (IdentityRule::Full, Usable::No, _) => (Voice::Silent, "REPLICA IDENTITY FULL"),
                (IdentityRule::Leave, Usable::Yes, false) => (Voice::Aloud, "updates and deletes published"),
                (IdentityRule::Leave, Usable::No, true) => (Voice::Aloud, "updates and deletes no longer published"),
                (IdentityRule::Full, Usable::Yes, _)
                | (IdentityRule::Leave, Usable::Yes, true)
                | (IdentityRule::Leave, Usable::No, false) => continue,
            };
            let CapturedTable { relid, name, .. } = table;
            let sql = format!("select {}.tend_identity({relid})", names::SCHEMA);
            self.act_in(voice, &format!("{name}: {what}"), &sql).await?;
        }
        Ok(())
    }

    /// Tables with a key join the second publication while the first one still says everything. Those that were made FULL
    /// wait until that is settled: without an identity a member's UPDATE fails.
    pub(super) async fn join_keyed(&mut self) -> Result<(), SourceError> {
        for table in captured_tables(self.session).await.map_err(failed)? {
            if table.usable == Usable::Yes && !table.keyed && table.replica_identity != 'f' {
                let sql = format!("select {}.tend_identity({})", names::SCHEMA, table.relid);
                self.act(&format!("{}: updates and deletes published", table.name), &sql).await?;
            }
        }
        Ok(())
    }

    /// Takes REPLICA IDENTITY FULL back where it is still as we forced it.
    pub(super) async fn put_identities_back(&mut self, voice: Voice) -> Result<(), SourceError> {
        for forced in forced_identities(self.session).await.map_err(failed)? {
            let Forced { relid, name, before } = forced;
            // An index that is gone cannot be named; without it, INDEX is what DEFAULT is without a key.
            let identity = if before == 'n' { "nothing" } else { "default" };
            let sql = format!(
                "alter table only {name} replica identity {identity};
                 insert into {}.identity_change (relid, relname, before, forced)
                 values ({relid}, '{relid}'::oid::regclass::text, '{before}', false)",
                names::SCHEMA
            );
            self.act_in(voice, &format!("{name}: replica identity {identity} again"), &sql).await?;
        }
        Ok(())
    }
}

/// A table whose identity was forced and still is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source::postgres) struct Forced {
    /// Its OID.
    pub(in crate::source::postgres) relid: u32,
    /// Schema and name, quoted where SQL needs it.
    pub(in crate::source::postgres) name: String,
    /// The letter of its replica identity before.
    pub(in crate::source::postgres) before: char,
}

/// The tables whose identity was forced and still is; none where `init` never was.
pub(in crate::source::postgres) async fn forced_identities(session: &mut Session) -> Result<Vec<Forced>, ConnectError> {
    let list = format!("{}.forced_identity", names::SCHEMA);
    if !flag(&session.one_row(&format!("select to_regclass('{list}') is not null")).await?, 0) {
        return Ok(Vec::new());
    }
    let sql = format!(
        "select c.oid, quote_ident(n.nspname) || '.' || quote_ident(c.relname), f.before
         from {list} f join pg_class c on c.oid = f.relid join pg_namespace n on n.oid = c.relnamespace order by c.oid"
    );
    let rows = session.simple(&sql).await?;
    let forced = rows.iter().flatten().map(|row| {
        let before = text(row, 2)?.chars().next().unwrap_or('d');
        Ok(Forced { relid: number(row, 0)?, name: text(row, 1)?.to_owned(), before })
    });
    forced.collect()
}
