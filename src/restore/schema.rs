//! Which entries of a dump are restored, and in which phase. Pure.
//!
//! ```text
//!   pre-data ─▶ rows ─▶ keys of identities ─▶ log ─▶ indexes, constraints ─▶ the rest in its order ─▶ event triggers
//! ```

use std::collections::BTreeMap;

use crate::codec::base::{Identity, Manifest, Table};
use crate::codec::names::{OURS, SCHEMA};
use crate::codec::sqltext::{Entry, SqlTextError, entries, statements};

/// What happens to roles that the target lacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Roles {
    /// They are created, without login.
    #[default]
    Create,
    /// Owners and grants are skipped.
    None,
}

/// One object to create: what it is, and its statements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What it is, for messages; empty for settings.
    pub title: String,
    /// Its statements, one query.
    pub sql: String,
    /// Settings that stand before it, for a session that did not run what came before.
    pub settings: Vec<String>,
}

/// What comes after the rows, by phase.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PostData {
    /// The keys by which the log finds rows; in any order.
    pub keys: Vec<Item>,
    /// Indexes; in any order.
    pub indexes: Vec<Item>,
    /// Constraints that are indexes; in any order, after the indexes.
    pub constraints: Vec<Item>,
    /// Everything else, in its order.
    pub rest: Vec<Item>,
    /// Event triggers: they would fire at what a restore still does.
    pub event_triggers: Vec<Item>,
    /// What is left out, for the report.
    pub left_out: Vec<String>,
}

/// Whether it is our own schema, a publication or an event trigger of ours at the source, or belongs to one.
fn is_ours(entry: &Entry<'_>) -> bool {
    let named = |kind: &str| entry.name.strip_prefix(kind).is_some_and(|name| name.starts_with(OURS));
    match entry.kind {
        "SCHEMA" => entry.name == SCHEMA,
        "EVENT TRIGGER" | "PUBLICATION" | "PUBLICATION TABLE" | "PUBLICATION TABLES IN SCHEMA" => {
            entry.name.starts_with(OURS)
        }
        "ACL" | "COMMENT" | "SECURITY LABEL" => {
            entry.schema == Some(SCHEMA)
                || entry.name.strip_prefix("SCHEMA ") == Some(SCHEMA)
                || named("EVENT TRIGGER ")
                || named("PUBLICATION ")
        }
        _other => entry.schema == Some(SCHEMA),
    }
}

fn item(entry: &Entry<'_>, roles: Roles, settings: &BTreeMap<&str, &str>) -> Result<Option<Item>, SqlTextError> {
    let sql = match roles {
        Roles::Create => entry.sql.to_owned(),
        Roles::None if matches!(entry.kind, "ACL" | "DEFAULT ACL") => return Ok(None),
        Roles::None => {
            let kept = statements(entry.sql)?.into_iter().filter(|sql| !names_owner(sql));
            kept.collect::<Vec<_>>().join("\n")
        }
    };
    let schema = entry.schema.map(|schema| format!(" in schema {schema}")).unwrap_or_default();
    let title = if entry.kind.is_empty() { String::new() } else { format!("{} {}{schema}", entry.kind, entry.name) };
    let settings = settings.values().map(|&sql| sql.to_owned()).collect();
    Ok((!sql.is_empty()).then_some(Item { title, sql, settings }))
}

/// `ALTER … OWNER TO name;` and nothing else.
pub fn names_owner(sql: &str) -> bool {
    let owner = sql.strip_prefix("ALTER ").and_then(|sql| sql.rsplit_once(" OWNER TO ")).map(|(_, owner)| owner);
    let quoted = |name: &str| name.starts_with('"') && name.ends_with('"');
    let plain = |name: &str| name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '$');
    owner.and_then(|owner| owner.strip_suffix(';')).is_some_and(|name| quoted(name) || plain(name))
}

/// The parameter that a `SET` sets.
fn parameter(sql: &str) -> &str {
    sql.strip_prefix("SET ").and_then(|rest| rest.split([' ', '=']).next()).unwrap_or(sql)
}

/// What has to be there before rows are, in its order; and what is left out.
pub fn pre_data(text: &str, roles: Roles) -> Result<(Vec<Item>, Vec<String>), SqlTextError> {
    let none = BTreeMap::new();
    let (mut items, mut left_out) = (Vec::new(), Vec::new());
    for entry in entries(text)?.iter().filter(|entry| !is_ours(entry)) {
        if entry.kind.starts_with("SUBSCRIPTION") {
            left_out.push(format!("{} {}", entry.kind, entry.name));
        } else if entry.kind.is_empty() {
            // A newer server's settings may mean nothing to the target: each stands alone.
            for sql in statements(entry.sql)? {
                items.push(Item { title: String::new(), sql: sql.to_owned(), settings: Vec::new() });
            }
        } else {
            items.extend(item(entry, roles, &none)?);
        }
    }
    Ok((items, left_out))
}

/// Which tables are restored.
#[derive(Clone, Copy, Debug)]
pub enum Choice<'a> {
    /// All.
    All,
    /// These alone, without foreign keys and triggers, which speak of others.
    Only(&'a [&'a Table]),
}

impl Choice<'_> {
    fn leaves_out(&self, entry: &Entry<'_>) -> bool {
        let Choice::Only(tables) = self else { return false };
        let of_a_table = tables.iter().any(|table| {
            let name = entry.name.strip_prefix(table.name.as_str());
            Some(table.schema.as_str()) == entry.schema && name.is_some_and(|rest| rest.starts_with(' '))
        });
        match entry.kind {
            "" | "INDEX" => false,
            "CONSTRAINT" => !of_a_table,
            _other => true,
        }
    }
}

/// What comes after the rows.
pub fn post_data(text: &str, manifest: &Manifest, choice: Choice<'_>, roles: Roles) -> Result<PostData, SqlTextError> {
    let mut post = PostData::default();
    let all = entries(text)?;
    let mut settings: BTreeMap<&str, &str> = BTreeMap::new();
    for entry in all.iter().filter(|entry| !is_ours(entry)) {
        if choice.leaves_out(entry) {
            continue;
        }
        if entry.kind.starts_with("SUBSCRIPTION") {
            post.left_out.push(format!("{} {}", entry.kind, entry.name));
            continue;
        }
        if entry.kind.is_empty() {
            for sql in statements(entry.sql)? {
                settings.insert(parameter(sql), sql);
                post.rest.push(Item { title: String::new(), sql: sql.to_owned(), settings: Vec::new() });
            }
            continue;
        }
        let Some(item) = item(entry, roles, &settings)? else { continue };
        match entry.kind {
            "INDEX" | "CONSTRAINT" if is_identity(entry, manifest) => post.keys.push(item),
            "INDEX" => post.indexes.push(item),
            "CONSTRAINT" => post.constraints.push(item),
            "EVENT TRIGGER" => post.event_triggers.push(item),
            "COMMENT" if entry.name.starts_with("EVENT TRIGGER ") => post.event_triggers.push(item),
            _other => post.rest.push(item),
        }
    }
    Ok(post)
}

/// Whether the entry makes the key by which the log finds a table's rows.
fn is_identity(entry: &Entry<'_>, manifest: &Manifest) -> bool {
    manifest.tables.iter().any(|table| match &table.identity {
        Identity::Key { constraint: Some(constraint), .. } => {
            let name = format!("{} {constraint}", table.name);
            entry.kind == "CONSTRAINT" && entry.name == name && entry.schema == Some(table.schema.as_str())
        }
        Identity::Key { index_schema, index_name, constraint: None, .. } => {
            entry.kind == "INDEX" && entry.name == index_name && entry.schema == Some(index_schema.as_str())
        }
        Identity::Full | Identity::Nothing => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_statement_that_names_an_owner_is_left_out_without_roles() {
        #[rustfmt::skip]
        let cases = [
            // statement                                              names an owner   why
            ("ALTER TABLE public.t OWNER TO joe;",                    true,  "as pg_dump writes it"),
            ("ALTER TABLE public.t OWNER TO \"a b\";",                true,  "a quoted name"),
            ("ALTER TABLE t ADD CHECK (x <> ' OWNER TO joe');",       false, "a text that says so"),
            ("CREATE TABLE t ();",                                    false, "another statement"),
        ];
        for (sql, names, why) in cases {
            assert_eq!(names_owner(sql), names, "{why}: {sql}");
        }
    }

    fn dump(entries: &[(&str, &str, &str, &str)]) -> String {
        let entry = |(name, kind, schema, sql): &(&str, &str, &str, &str)| {
            format!("--\n-- Name: {name}; Type: {kind}; Schema: {schema}; Owner: joe\n--\n\n{sql}\n\n")
        };
        entries.iter().map(entry).collect()
    }

    #[test]
    fn what_init_made_is_not_restored() {
        let text = dump(&[
            ("holdfast", "SCHEMA", "-", "CREATE SCHEMA holdfast;"),
            ("note()", "FUNCTION", "holdfast", "CREATE FUNCTION holdfast.note();"),
            ("SCHEMA holdfast", "ACL", "-", "GRANT USAGE ON SCHEMA holdfast TO joe;"),
            ("holdfast_ddl", "EVENT TRIGGER", "-", "CREATE EVENT TRIGGER holdfast_ddl;"),
            ("holdfast", "PUBLICATION", "-", "CREATE PUBLICATION holdfast;"),
            ("other", "SUBSCRIPTION", "-", "CREATE SUBSCRIPTION other;"),
            ("t", "TABLE", "public", "CREATE TABLE public.t ();\nALTER TABLE public.t OWNER TO joe;"),
        ]);
        let (items, left_out) = pre_data(&text, Roles::None).unwrap();
        assert_eq!(items.iter().map(|item| item.sql.as_str()).collect::<Vec<_>>(), ["CREATE TABLE public.t ();"]);
        assert_eq!(left_out, ["SUBSCRIPTION other"], "and what is left out is told");
    }
}
