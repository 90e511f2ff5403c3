//! A key file is written once, for its owner alone, and a wrong digit of it opens nothing.

use futures::FutureExt;
use tempfile::TempDir;

use super::*;
use crate::crypto::keyring::{KeyError, Keyring};
use crate::entropy::SeededEntropy;
use crate::model::Epoch;

fn folder_with_key() -> (TempDir, PathBuf, FileKey) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("key");
    let key = FileKey::fresh(&SeededEntropy::new(1));
    key.write_new(&path).unwrap();
    (folder, path, key)
}

/// Another key's line.
fn line_of(seed: u64) -> String {
    FileKey::fresh(&SeededEntropy::new(seed)).text().lines().last().unwrap().to_owned()
}

fn rewrite(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

#[test]
fn a_key_file_is_its_owners_alone_and_returns_as_it_was() {
    let (_folder, path, key) = folder_with_key();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(FileKey::read(&path).unwrap().0, key.0);
}

#[test]
fn a_key_file_is_never_overwritten() {
    let (_folder, path, key) = folder_with_key();
    let before = std::fs::read(&path).unwrap();
    let error = FileKey::fresh(&SeededEntropy::new(2)).write_new(&path).unwrap_err();
    assert_eq!(error.kind, KeyFileErrorKind::Exists);
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert_eq!(FileKey::read(&path).unwrap().id(), key.id());
}

#[test]
fn a_key_file_that_others_may_read_is_refused() {
    let (_folder, path, _key) = folder_with_key();
    for mode in [0o640, 0o604, 0o660, 0o601, 0o644] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(FileKey::read(&path).unwrap_err().kind, KeyFileErrorKind::Open, "{mode:o}");
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
    FileKey::read(&path).unwrap();
}

#[test]
fn a_typing_error_in_any_digit_is_noticed() {
    let (_folder, path, _key) = folder_with_key();
    let text = std::fs::read_to_string(&path).unwrap();
    let line = text.find(PREFIX).unwrap();
    for at in line..text.len() - 1 {
        let other = if text.as_bytes()[at] == b'1' { '2' } else { '1' };
        let mut typed = text.clone();
        typed.replace_range(at..=at, &other.to_string());
        rewrite(&path, &typed);
        assert_eq!(FileKey::read(&path).unwrap_err().kind, KeyFileErrorKind::Foreign, "character {}", at - line);
    }
}

#[test]
fn a_copy_on_paper_comes_back_however_a_person_types_it() {
    let (_folder, path, key) = folder_with_key();
    let text = std::fs::read_to_string(&path).unwrap();
    let line = text.lines().last().unwrap();
    let (digits, sum) = line[PREFIX.len()..].split_once(':').unwrap();
    let capitals = format!("{PREFIX}{}:{}", digits.to_uppercase(), sum.to_uppercase());
    #[rustfmt::skip]
    let cases = [
        // text                                             opens   why
        (line.to_owned(),                                   true,   "the line alone, without its end"),
        (format!("# mine\n\n  {line}  \r\n\n# end\n"),      true,   "comments, blanks, another system's line ends"),
        (capitals,                                          true,   "capitals"),
        (format!("{line}\n{}\n", line_of(9)),               true,   "an old key behind it: the first wraps"),
        (line[..line.len() - 1].to_owned(),                 false,  "a digit is missing"),
        (line.replace(PREFIX, "holdfast-key-v2:"),          false,  "another version's"),
        (digits.to_owned(),                                 false,  "the digits alone cannot be checked"),
        (String::new(),                                     false,  "empty"),
    ];
    for (text, opens, why) in cases {
        rewrite(&path, &text);
        match FileKey::read(&path) {
            Ok(read) => assert!(opens && read.0 == key.0, "{why}"),
            Err(error) => assert!(!opens && error.kind == KeyFileErrorKind::Foreign, "{why}: {error}"),
        }
    }
    std::fs::remove_file(&path).unwrap();
    assert_eq!(FileKey::read(&path).unwrap_err().kind, KeyFileErrorKind::Unreadable, "gone");
}

#[test]
fn l6_nothing_that_is_printed_of_a_key_is_the_key() {
    let (_folder, path, key) = folder_with_key();
    let digits = hex::encode(key.0);
    let mut typed = std::fs::read_to_string(&path).unwrap();
    typed.push('x');
    rewrite(&path, &typed);
    let error = FileKey::read(&path).unwrap_err();
    let printed = format!("{key:?} {error} {error:?} {:?}", Keyring::of_file(key.clone()));
    assert!(!printed.contains(&digits[..8]), "{printed}");
}

#[test]
fn l4_a_wrap_opens_for_its_own_stream_and_epoch_alone() {
    let entropy = SeededEntropy::new(3);
    let ring = Keyring::of_file(FileKey::fresh(&entropy));
    let context = KeyContext { stream: [1; 16], epoch: Epoch::new(2) };
    let (data, wraps) = ring.make_here(&context, &entropy).unwrap().unwrap();
    let open = |wraps: &[Wrap], context| ring.open(wraps, context).now_or_never().expect("nobody is asked");
    assert_eq!(open(&wraps, &context).unwrap().as_bytes(), data.as_bytes());
    let other_stream = KeyContext { stream: [2; 16], ..context };
    let other_epoch = KeyContext { epoch: Epoch::new(3), ..context };
    assert_eq!(open(&wraps, &other_stream).unwrap_err(), KeyError::Broken);
    assert_eq!(open(&wraps, &other_epoch).unwrap_err(), KeyError::Broken);
    for bit in 0..wraps[0].bytes.len() * 8 {
        let mut flipped = wraps.clone();
        flipped[0].bytes[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(open(&flipped, &context).unwrap_err(), KeyError::Broken, "bit {bit}");
    }
    assert_ne!(ring.make_here(&context, &entropy).unwrap().unwrap().1, wraps, "every data key is drawn anew");
}

#[test]
fn a_new_key_in_front_wraps_and_what_stood_there_still_opens() {
    let (_folder, path, old) = folder_with_key();
    let new = FileKey::fresh(&SeededEntropy::new(8));
    KeyFile::put_in_front(&path, &new).unwrap();
    let file = KeyFile::read(&path).unwrap();
    assert_eq!(file.keys.iter().map(FileKey::id).collect::<Vec<_>>(), [new.id(), old.id()]);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let (entropy, context) = (SeededEntropy::new(3), KeyContext { stream: [1; 16], epoch: Epoch::new(2) });
    let (_, before) = Keyring::of_file(old).make_here(&context, &entropy).unwrap().unwrap();
    let ring = Keyring::of_key_file(file);
    ring.open(&before, &context).now_or_never().unwrap().unwrap();
    assert_eq!(ring.make_here(&context, &entropy).unwrap().unwrap().1[0].key, new.id());
}

/// As root:root 0600 it would keep the daemon's own user out, and the daemon would not start any more.
#[test]
fn a_key_file_stays_its_owners_whoever_puts_a_new_key_in_front() {
    let (_folder, path, _) = folder_with_key();
    let of = |path: &Path| std::fs::metadata(path).map(|of| (of.uid(), of.gid(), of.permissions().mode() & 0o777));
    let (uid, gid, _) = of(&path).unwrap();
    // Only root gives a file away; anybody else is its owner already.
    let daemon = if uid == 0 { (54_321, 54_322) } else { (uid, gid) };
    std::os::unix::fs::chown(&path, Some(daemon.0), Some(daemon.1)).unwrap();
    KeyFile::put_in_front(&path, &FileKey::fresh(&SeededEntropy::new(8))).unwrap();
    assert_eq!(of(&path).unwrap(), (daemon.0, daemon.1, 0o600));
    assert!(of(&path.with_extension("new")).is_err(), "nothing is left beside it");
}

#[test]
fn the_private_half_of_a_recovery_key_is_a_key_file_that_only_opens() {
    let (folder, _, _) = folder_with_key();
    let path = folder.path().join("recovery");
    let identity = RecoveryIdentity::fresh(&SeededEntropy::new(4));
    write_identity(&path, &identity).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(write_identity(&path, &identity).unwrap_err().kind, KeyFileErrorKind::Exists, "never overwritten");
    let (entropy, context) = (SeededEntropy::new(3), KeyContext { stream: [1; 16], epoch: Epoch::new(2) });
    let sealing = Keyring::of_file(FileKey::fresh(&entropy)).with_recovery(Some(identity.public()));
    let (data, wraps) = sealing.make_here(&context, &entropy).unwrap().unwrap();
    let ring = Keyring::of_key_file(KeyFile::read(&path).unwrap());
    let opened = ring.open(&wraps, &context).now_or_never().unwrap().unwrap();
    assert_eq!(opened.as_bytes(), data.as_bytes());
    assert_eq!(ring.make(&context, &entropy).now_or_never().unwrap().unwrap_err(), KeyError::SealsNothing);
    assert_eq!(FileKey::read(&path).unwrap_err().kind, KeyFileErrorKind::Foreign, "it cannot wrap");
}
