//! Verifies holds: what one keeps that cannot be read nobody knows, and nothing expires until it can be (L10).
//!
//! A hold may be taken off at any time, and its name given to another: what is there now counts, also in a store that keeps
//! versions.

use std::sync::Arc;

use crate::crypto::KeyError;
use crate::crypto::stream::sha256;
use crate::log::env::LogEnv;
use crate::log::error::{ObjectError, ObjectErrorKind};
use crate::log::hold::{self, Hold};
use crate::log::object::Object;
use crate::log::scrub::order::Watch;
use crate::log::scrub::report::{Finding, ScrubReport, Verdict};
use crate::log::scrub::{broken, finding, size, unlisted, unread};
use crate::model::{ObjectKey, SourceName};
use crate::store::layout::{self, Named};
use crate::store::{Keys, Part, StoreErrorKind};

/// Opens every hold on the log of `source`, to its last byte, and adds what is found to `report`.
pub async fn holds(env: &LogEnv, source: &SourceName, report: &mut ScrubReport, watch: &mut dyn Watch) {
    let store = Arc::clone(&env.store);
    let prefix = layout::holds_prefix(source);
    let mut keys = Keys::new(&*store, prefix.clone(), None);
    loop {
        let looked = match keys.next().await {
            Ok(None) => return,
            Ok(Some(key)) => look(env, source, &key, (&mut *report, &mut *watch)).await,
            Err(error) => {
                let finding = unlisted(&prefix, &error);
                watch.found(&finding);
                return report.add(finding);
            }
        };
        match looked {
            Ok(()) => {}
            Err(Wrong::Stranger(finding)) => {
                watch.found(&finding);
                report.add_stranger(finding);
            }
            Err(Wrong::Known(finding)) => {
                watch.found(&finding);
                report.add(finding);
            }
        }
    }
}

enum Wrong {
    /// No key at hand opens it.
    Stranger(Finding),
    Known(Finding),
}

impl From<ObjectError> for Wrong {
    fn from(error: ObjectError) -> Self {
        match error.kind {
            ObjectErrorKind::Key(KeyError::OtherKey { .. }) => Self::Stranger(broken(&error)),
            ObjectErrorKind::Format(_)
            | ObjectErrorKind::Seal(_)
            | ObjectErrorKind::Key(_)
            | ObjectErrorKind::LaterWraps(_)
            | ObjectErrorKind::Misplaced { .. }
            | ObjectErrorKind::Unchained => Self::Known(broken(&error)),
        }
    }
}

async fn look(
    env: &LogEnv,
    source: &SourceName,
    key: &ObjectKey,
    (report, watch): (&mut ScrubReport, &mut dyn Watch),
) -> Result<(), Wrong> {
    let Some(Named::Hold { .. }) = layout::parse(key) else {
        return Err(Wrong::Known(finding(key, Verdict::Foreign, "no hold has such a name")));
    };
    let bytes = match env.store.get(key, Part::Whole).await {
        Ok(sealed) => sealed.bytes(),
        Err(error) if error.kind == StoreErrorKind::Missing => {
            return match hold::is_listed(env, source, key).await {
                // Taken off since it was listed.
                Ok(false) => Ok(()),
                Ok(true) | Err(_) => Err(Wrong::Known(unread(key, &error))),
            };
        }
        Err(error) => return Err(Wrong::Known(unread(key, &error))),
    };
    report.objects_checked += 1;
    report.bytes_checked += size(bytes.len());
    watch.read(size(bytes.len()));
    Hold::read(Object::open(env, key, bytes.clone()).await?)?;
    report.opened_one();
    watch.sound(key, size(bytes.len()), Some(&sha256(&bytes)));
    Ok(())
}
