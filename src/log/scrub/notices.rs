//! Verifies notices that a base is about to be deleted: clear objects with a sum.

use crate::log::notice::Notice;
use crate::log::scrub::{Scrub, Verdict, finding, size, unread};
use crate::model::{BaseId, ObjectKey};
use crate::store::{Part, StoreErrorKind};

impl Scrub<'_> {
    /// Reads a notice; one that was taken back meanwhile is no loss.
    pub(crate) async fn notice(&mut self, key: &ObjectKey, base: BaseId) {
        let bytes = match self.env.store.get(key, Part::Whole).await {
            Ok(bytes) => bytes.bytes(),
            Err(error) if error.kind == StoreErrorKind::Missing => return,
            Err(error) => return self.note(unread(key, &error)),
        };
        self.checked(size(bytes.len()));
        match Notice::decode(&bytes) {
            Ok(notice) if notice.base == base => self.watch.sound(key, size(bytes.len()), None),
            Ok(_) => self.note(finding(key, Verdict::Damaged, "it is another base's notice")),
            Err(error) => self.note(finding(key, Verdict::Damaged, error.to_string())),
        }
    }
}
