//! What a base and the log do not hold by their nature, and what of the database is held up while we are connected.

use crate::connect::{ConnectError, Session};
use crate::source::postgres::catalog::number;
use crate::source::postgres::check::{CheckPlan, Finding};
use crate::source::postgres::init::IdentityRule;

pub(super) async fn notes(session: &mut Session) -> Result<Vec<Finding>, ConnectError> {
    let sql = "select (select count(*) from pg_largeobject_metadata),
            count(*) filter (where relkind = 'r' and relpersistence = 'u'), count(*) filter (where relkind = 'm'),
            count(*) filter (where relkind = 'f')
        from pg_class where oid >= 16384";
    let row = session.one_row(sql).await?;
    let kinds = [
        ("large objects", "no log carries them, and bases leave them out: keep such bytes in bytea columns"),
        ("unlogged tables", "they come back empty; make them LOGGED if their rows matter"),
        ("materialized views", "they come back empty; run REFRESH MATERIALIZED VIEW after a restore"),
        ("foreign tables", "their rows live elsewhere and are not captured"),
    ];
    let mut found = Vec::new();
    for (column, (kind, remedy)) in kinds.into_iter().enumerate() {
        let count: u64 = number(&row, column)?;
        if count > 0 {
            found.push(Finding::warning("contents", format!("{count} {kind}"), remedy));
        }
    }
    if found.is_empty() {
        found.push(Finding::ok("contents", "nothing that a restore would lack"));
    }
    Ok(found)
}

/// The exceptions to L12, named.
pub(super) fn exceptions(plan: &CheckPlan) -> Finding {
    let name = "exceptions";
    let always = "DROP, RENAME and use as TEMPLATE of this database fail while Holdfast is connected";
    match plan.identity {
        IdentityRule::Full => Finding::ok(name, always),
        IdentityRule::Leave => Finding::warning(
            name,
            format!("{always}; ALTER TABLE … SET UNLOGGED of a table with a key fails with identity = \"leave\""),
            "use identity = \"full\", which does not forbid it",
        ),
    }
}
