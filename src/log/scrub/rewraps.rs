//! Verifies the later wraps of data keys: who lost the old key opens the log by nothing else.
//!
//! ```text
//!   name: id of the old wraps / for whom ─▶ header: a wrap for each of these ─▶ data key ─▶ its own seal ─▶ footer: that id
//!                                                                               └─▶ the seal of an object with the old wraps
//! ```
//! The data key comes from the new wraps if a key at hand opens one, else from the old ones: an object that is not for
//! the keys at hand is proved all the same. One whose old wraps stand in no object any more is needed by nothing, and
//! where no key at hand opens it its form alone is proved.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::codec::segment::{Header, ObjectKind};
use crate::crypto::KeyError;
use crate::crypto::key::DataKey;
use crate::crypto::keyring::{KeyContext, wraps_id};
use crate::crypto::stream::sha256;
use crate::log::env::LogEnv;
use crate::log::error::{ObjectError, ObjectErrorKind};
use crate::log::object::{Object, is_sealed_under};
use crate::log::scrub::order::Watch;
use crate::log::scrub::report::{Depth, Finding, ScrubReport, Verdict};
use crate::log::scrub::{broken, finding, size, unlisted, unread};
use crate::log::wrapped::{self, Stretch};
use crate::model::{ObjectKey, SourceName};
use crate::store::layout::{self, Named};
use crate::store::{Keys, Part};

/// The halves of ids that stand in names.
type Half = [u8; 16];

/// Verifies every later wrap in the store; the data keys of these sources are known by their old wraps too.
pub async fn rewraps(env: &LogEnv, sources: &[SourceName], depth: Depth, watch: &mut dyn Watch) -> ScrubReport {
    let mut report = ScrubReport::default();
    let mut all = Rewraps { env, depth, old: BTreeMap::new(), complete: true };
    let mut keys = Keys::new(&*env.store, layout::REWRAPS_PREFIX, None);
    let mut begun = false;
    loop {
        let key = match keys.next().await {
            Ok(Some(key)) => key,
            Ok(None) => return report,
            Err(error) => {
                add(&mut report, watch, unlisted(layout::REWRAPS_PREFIX, &error));
                return report;
            }
        };
        if !begun && depth == Depth::Full {
            all.find_old(sources).await;
        }
        begun = true;
        let bytes = match env.store.get(&key, Part::Whole).await {
            Ok(sealed) => sealed.bytes(),
            Err(error) => {
                add(&mut report, watch, unread(&key, &error));
                continue;
            }
        };
        report.objects_checked += 1;
        report.bytes_checked += size(bytes.len());
        watch.read(size(bytes.len()));
        match all.prove(&key, &bytes).await {
            Ok(()) => watch.sound(&key, size(bytes.len()), Some(&sha256(&bytes))),
            Err(finding) => add(&mut report, watch, finding),
        }
    }
}

fn add(report: &mut ScrubReport, watch: &mut dyn Watch, finding: Finding) {
    watch.found(&finding);
    report.add(finding);
}

struct Rewraps<'a> {
    env: &'a LogEnv,
    depth: Depth,
    /// An object with the old wraps, by the first half of their id.
    old: BTreeMap<Half, Stretch>,
    /// Whether all old wraps could be found.
    complete: bool,
}

impl Rewraps<'_> {
    async fn find_old(&mut self, sources: &[SourceName]) {
        for source in sources {
            // What cannot be read there is told where the log is verified.
            let Ok(found) = wrapped::stretches(self.env, source).await else {
                self.complete = false;
                continue;
            };
            self.complete &= found.closed.is_empty();
            for stretch in found.stretches {
                let id = wraps_id(&stretch.header.wraps, stretch.header.stream);
                self.old.entry(half(&id)).or_insert(stretch);
            }
        }
    }

    async fn prove(&self, key: &ObjectKey, bytes: &Bytes) -> Result<(), Finding> {
        let wrong = |kind| broken(&ObjectError { key: key.clone(), kind });
        let misplaced = |what| wrong(ObjectErrorKind::Misplaced { what });
        let Some(Named::Rewrap { wraps, later }) = layout::parse(key) else {
            return Err(finding(key, Verdict::Foreign, "no later wrap has such a name"));
        };
        let (header, _) = Header::decode(bytes).map_err(|error| wrong(error.into()))?;
        if header.kind != ObjectKind::Rewrap {
            return Err(misplaced("kind"));
        }
        if half(&wraps_id(&header.wraps, header.stream)) != later {
            return Err(misplaced("for whom it is"));
        }
        if self.depth == Depth::Quick {
            return Ok(());
        }
        let old = self.old.get(&wraps);
        let Some(data) = self.data_key(key, &header, old).await? else { return Ok(()) };
        let mut object = Object::open_under(key, bytes.clone(), &data).map_err(|error| broken(&error))?;
        let id = object.footer().map_err(|error| broken(&error))?;
        let frames = object.next_frame().map_err(|error| broken(&error))?.is_some();
        if frames || id.len() != 32 || id.first_chunk() != Some(&wraps) {
            return Err(misplaced("which wraps it follows"));
        }
        // What it carries must be what sealed the objects with the old wraps: their headers say by which key.
        if old.is_some_and(|old| !is_sealed_under(&old.header, &data)) {
            return Err(misplaced("data key"));
        }
        Ok(())
    }

    /// The data key; none where nothing can tell it and nothing needs it.
    async fn data_key(
        &self,
        key: &ObjectKey,
        header: &Header,
        old: Option<&Stretch>,
    ) -> Result<Option<DataKey>, Finding> {
        let of = |header: &Header| KeyContext { stream: header.stream, epoch: header.epoch };
        match self.env.keys.open(&header.wraps, &of(header)).await {
            Ok(data) => return Ok(Some(data)),
            Err(KeyError::OtherKey { .. }) => {}
            Err(error) => return Err(broken(&ObjectError { key: key.clone(), kind: error.into() })),
        }
        match old {
            None if self.complete => Ok(None),
            Some(Stretch { header: old, .. }) if let Ok(data) = self.env.keys.open(&old.wraps, &of(old)).await => {
                Ok(Some(data))
            }
            Some(_) | None => Err(finding(key, Verdict::Unreadable, "no key at hand opens it")),
        }
    }
}

fn half(id: &[u8; 32]) -> Half {
    *id.first_chunk().expect("32 bytes have sixteen")
}
