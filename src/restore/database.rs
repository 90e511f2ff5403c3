//! The target database: there or made, empty, and marked as incomplete until the end.

use crate::apply::postgres::sql::OWN_SCHEMA;
use crate::clock::Clock;
use crate::codec::base::Database;
use crate::codec::sqltext::statements;
use crate::connect::{ConnectTarget, Mode, Session, quote_ident, quote_literal};
use crate::restore::error::RestoreError;
use crate::restore::plan::Plan;

/// Settings of every session of a restore.
const SETTINGS: &str = "SET synchronous_commit = off; SET maintenance_work_mem = '256MB'; SET statement_timeout = 0; \
    SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0; SET row_security = off; SET xmloption = content";

const SOMETHING: &str = "SELECT what FROM ( \
    SELECT 1 AS rank, 'schema ' || nspname AS what, oid, 'pg_namespace'::regclass AS class FROM pg_namespace \
    WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'public') \
    UNION ALL SELECT 2, 'relation ' || n.nspname || '.' || c.relname, c.oid, 'pg_class'::regclass \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' \
    UNION ALL SELECT 3, 'function ' || n.nspname || '.' || p.proname, p.oid, 'pg_proc'::regclass \
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace \
    WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' \
    UNION ALL SELECT 4, 'type ' || n.nspname || '.' || t.typname, t.oid, 'pg_type'::regclass \
    FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace \
    WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' \
    UNION ALL SELECT 5, 'large object ' || oid, oid, 'pg_largeobject'::regclass FROM pg_largeobject_metadata \
    UNION ALL SELECT 6, 'event trigger ' || evtname, oid, 'pg_event_trigger'::regclass FROM pg_event_trigger \
    ) x WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = x.class AND d.objid = x.oid AND d.deptype = 'e') \
    ORDER BY rank LIMIT 1";

/// Opens sessions with the target.
#[derive(Clone, Copy)]
pub struct Door<'a> {
    /// Where it is.
    pub target: &'a ConnectTarget,
    /// Time.
    pub clock: &'a dyn Clock,
}

impl Door<'_> {
    /// A session that is set for restoring.
    pub async fn open(self) -> Result<Session, RestoreError> {
        let mut session = self.connect(self.target).await?;
        session.simple(SETTINGS).await.map_err(RestoreError::session("prepare a session with the target"))?;
        Ok(session)
    }

    async fn connect(self, target: &ConnectTarget) -> Result<Session, RestoreError> {
        let session = Session::connect(target, Mode::Sql, self.clock, &[]).await;
        session.map_err(RestoreError::session("connect to the target"))
    }

    /// The target database, made if it is missing; refused if it is not empty.
    pub async fn prepare(self, like: &Database, plan: &Plan) -> Result<Session, RestoreError> {
        let mut session = match self.open().await {
            Err(error) if is_missing(&error) => {
                self.create(like).await?;
                self.open().await?
            }
            other => other?,
        };
        self.must_be_empty(&mut session).await?;
        let sql = format!(
            "CREATE SCHEMA {OWN_SCHEMA}; COMMENT ON SCHEMA {OWN_SCHEMA} IS \
             'A restore is under way, or was interrupted: this database is not complete.'; \
             CREATE TABLE {OWN_SCHEMA}.progress (source text, base text, stop text, applied_to text, \
             transactions bigint, begun_at timestamptz DEFAULT now()); \
             INSERT INTO {OWN_SCHEMA}.progress VALUES ({}, {}, {}, NULL, 0)",
            quote_literal(plan.source.as_str()),
            quote_literal(&plan.base.to_string()),
            quote_literal(&crate::model::Lsn::from(plan.stop.position).to_string()),
        );
        session.simple(&sql).await.map_err(RestoreError::session("mark the target as incomplete"))?;
        Ok(session)
    }

    async fn must_be_empty(self, session: &mut Session) -> Result<(), RestoreError> {
        let look = || RestoreError::session("look whether the target is empty");
        let database = self.target.database().to_owned();
        let marked = format!("SELECT FROM pg_namespace WHERE nspname = {}", quote_literal(OWN_SCHEMA));
        if session.simple(&marked).await.map_err(look())?.iter().any(|rows| !rows.is_empty()) {
            return Err(RestoreError::Incomplete { database });
        }
        match session.simple(SOMETHING).await.map_err(look())?.into_iter().flatten().next() {
            Some(row) => Err(RestoreError::NotEmpty { database, what: row.get(0).unwrap_or("something").to_owned() }),
            None => Ok(()),
        }
    }

    async fn create(self, like: &Database) -> Result<(), RestoreError> {
        let mut session = match self.connect(&self.target.with_database("postgres")).await {
            Err(error) if is_missing(&error) => self.connect(&self.target.with_database("template1")).await?,
            other => other?,
        };
        let sql = format!(
            "CREATE DATABASE {} TEMPLATE template0 ENCODING {} LC_COLLATE {} LC_CTYPE {}",
            quote_ident(self.target.database()),
            quote_literal(&like.encoding),
            quote_literal(&like.collate),
            quote_literal(&like.ctype),
        );
        let created = session.simple(&sql).await;
        created.map_err(RestoreError::session(format!("create database {}", self.target.database())))?;
        session.close().await;
        Ok(())
    }
}

fn is_missing(error: &RestoreError) -> bool {
    matches!(error, RestoreError::Session { source, .. } if source.sqlstate() == Some("3D000"))
}

/// Creates the roles that the target's server lacks, without login and without a password, and the memberships that
/// concern them. Gives back their names.
pub async fn create_roles(session: &mut Session, globals: &str) -> Result<Vec<String>, RestoreError> {
    let split = statements(globals).unwrap_or_default();
    let mut made = Vec::new();
    for sql in &split {
        let Some(role) = sql.strip_prefix("CREATE ROLE ").and_then(|rest| rest.strip_suffix(';')) else { continue };
        let doing = || RestoreError::session(format!("create role {role}; --roles none restores without roles"));
        // The name is quoted as SQL needs it: the server itself says whether it knows it.
        match session.simple(&format!("CREATE ROLE {role} NOLOGIN")).await {
            Ok(_) => made.push(role.to_owned()),
            Err(error) if error.sqlstate() == Some("42710") => {}
            Err(error) if error.sqlstate() == Some("42939") => {} // a reserved name, which every server has
            Err(error) => return Err(doing()(error)),
        }
    }
    for sql in &split {
        let Some((role, rest)) = sql.strip_prefix("GRANT ").and_then(|rest| rest.split_once(" TO ")) else { continue };
        let rest = rest.strip_suffix(';').unwrap_or(rest);
        let (rest, _grantor) = rest.rsplit_once(" GRANTED BY ").unwrap_or((rest, ""));
        let member = rest.split_once(" WITH ").map_or(rest, |(member, _)| member);
        if made.iter().any(|new| new == role || new == member) {
            let doing = RestoreError::session(format!("make {member} a member of role {role}"));
            session.simple(&format!("GRANT {role} TO {member}")).await.map_err(doing)?;
        }
    }
    Ok(made)
}
