//! Whether the publications are those that a source was configured for: one that says less would be a silent loss (L3).

use crate::connect::{ConnectError, Session};
use crate::source::error::{SourceError, SourceErrorKind};
use crate::source::postgres::catalog::{flag, text};
use crate::source::postgres::names;

/// Refuses to read from publications that publish something else than was configured; `wanted` are their names.
pub(super) async fn compare(session: &mut Session, wanted: &[String]) -> Result<(), SourceError> {
    let doing = "comparing what is published with the configuration";
    let failed = |error: ConnectError| SourceErrorKind::from(error).when(doing);
    let sql = format!(
        "select pubname, not pubviaroot and (puballtables or pubname <> '{}'),
             concat(case when pubinsert then 'i' end, case when pubupdate then 'u' end, case when pubdelete then 'd' end,
                 case when pubtruncate then 't' end)
         from pg_publication where pubname in ('{}', '{}')",
        names::PUBLICATION,
        names::PUBLICATION,
        names::PUBLICATION_KEYED
    );
    let rows: Vec<_> = session.simple(&sql).await.map_err(failed)?.into_iter().flatten().collect();
    let split = wanted.iter().any(|name| name == names::PUBLICATION_KEYED);
    for name in wanted {
        let Some(row) = rows.iter().find(|row| row.get(0) == Some(name.as_str())) else {
            return Err(SourceErrorKind::NotInitialised { what: format!("publication {name}") }.when(doing));
        };
        let operations = match (split, name == names::PUBLICATION) {
            (false, _) => "iudt",
            (true, true) => "it",
            (true, false) => "ud",
        };
        let published = text(row, 2).map_err(failed)?;
        if !flag(row, 1) || published != operations {
            let rule = if split { "leave" } else { "full" };
            let what = format!(
                "publication {name} does not publish what `identity = \"{rule}\"` needs ({published}, not {operations})"
            );
            let remedy = "configure the identity that `holdfast init` was run with last, or run it again".to_owned();
            return Err(SourceErrorKind::Unfit { what, remedy }.when(doing));
        }
    }
    Ok(())
}
