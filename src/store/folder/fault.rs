//! Says of an error of the file system what the caller can do about it.

use std::io;

use crate::store::error::{Refusal, StoreErrorKind};

/// What the caller can do, for an operation that certainly was not done. `NotFound` is left to the caller of this
/// function: whether an object or a whole disk is missing shows only in the store's root.
pub(crate) fn kind_of(error: &io::Error) -> StoreErrorKind {
    use io::ErrorKind as Io;
    let kind = error.kind();
    let refusal = if matches!(kind, Io::StorageFull | Io::QuotaExceeded) {
        Refusal::NoSpace
    } else if matches!(kind, Io::PermissionDenied) {
        Refusal::NoRights
    } else if matches!(kind, Io::ReadOnlyFilesystem) {
        Refusal::ReadOnly
    } else if matches!(kind, Io::FileTooLarge) {
        Refusal::TooLarge
    } else if matches!(kind, Io::NotADirectory | Io::IsADirectory) {
        Refusal::Foreign
    } else {
        // EIO, EMFILE, ESTALE, a disk that went away: it may come back.
        return StoreErrorKind::Unavailable;
    };
    StoreErrorKind::Refused(refusal)
}

/// What a link that failed means. Only the listed errors come before anything was changed; after any other (EIO from a
/// disk or a server that did not answer) the new name may be there.
pub(crate) fn kind_of_link(error: &io::Error) -> StoreErrorKind {
    use io::ErrorKind as Io;
    let errno = error.raw_os_error();
    // Linux says EPERM where a file system has no hard links, EACCES where a right is missing.
    let no_links = errno == Some(rustix::io::Errno::PERM.raw_os_error());
    if no_links || matches!(error.kind(), Io::CrossesDevices | Io::Unsupported | Io::TooManyLinks) {
        return StoreErrorKind::Refused(Refusal::Unfit);
    }
    if matches!(error.kind(), Io::NotFound) {
        // The draft was swept or the folder removed under our hands: the next try makes both anew.
        return StoreErrorKind::Unavailable;
    }
    match kind_of(error) {
        StoreErrorKind::Unavailable => StoreErrorKind::Unanswered,
        sure @ (StoreErrorKind::Unanswered
        | StoreErrorKind::Missing
        | StoreErrorKind::Short { .. }
        | StoreErrorKind::Refused(_)) => sure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn every_error_says_what_can_be_done() {
        let refused = |refusal| StoreErrorKind::Refused(refusal);
        let (later, unknown) = (StoreErrorKind::Unavailable, StoreErrorKind::Unanswered);
        #[rustfmt::skip]
        let cases = [
            // errno        before a link                   of a link                       why
            (Errno::NOSPC,  refused(Refusal::NoSpace),      refused(Refusal::NoSpace),      "the disk is full"),
            (Errno::DQUOT,  refused(Refusal::NoSpace),      refused(Refusal::NoSpace),      "the quota is used up"),
            (Errno::ACCESS, refused(Refusal::NoRights),     refused(Refusal::NoRights),     "a right is missing"),
            (Errno::PERM,   refused(Refusal::NoRights),     refused(Refusal::Unfit),        "no hard links on FAT"),
            (Errno::ROFS,   refused(Refusal::ReadOnly),     refused(Refusal::ReadOnly),     "mounted read-only"),
            (Errno::FBIG,   refused(Refusal::TooLarge),     refused(Refusal::TooLarge),     "a limit of the process"),
            (Errno::XDEV,   later,                          refused(Refusal::Unfit),        "a link into another disk"),
            (Errno::NOTDIR, refused(Refusal::Foreign),      refused(Refusal::Foreign),      "a file where a folder should be"),
            (Errno::IO,     later,                          unknown,                        "the disk's answer got lost"),
            (Errno::STALE,  later,                          unknown,                        "the server restarted"),
            (Errno::NOENT,  later,                          later,                          "removed meanwhile"),
        ];
        for (errno, before, of_link, why) in cases {
            let error = || io::Error::from_raw_os_error(errno.raw_os_error());
            assert_eq!(kind_of(&error()), before, "{why}");
            assert_eq!(kind_of_link(&error()), of_link, "{why}");
        }
    }
}
