//! A key file is written once, for its owner alone, and a wrong digit of it opens nothing.

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
        (format!("{line}\n{line}\n"),                       false,  "two keys: which one?"),
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
    let (data, wraps) = ring.fresh(&context, &entropy);
    assert_eq!(ring.open(&wraps, &context).unwrap().as_bytes(), data.as_bytes());
    let other_stream = KeyContext { stream: [2; 16], ..context };
    let other_epoch = KeyContext { epoch: Epoch::new(3), ..context };
    assert_eq!(ring.open(&wraps, &other_stream).unwrap_err(), KeyError::Broken);
    assert_eq!(ring.open(&wraps, &other_epoch).unwrap_err(), KeyError::Broken);
    for bit in 0..wraps[0].bytes.len() * 8 {
        let mut flipped = wraps.clone();
        flipped[0].bytes[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(ring.open(&flipped, &context).unwrap_err(), KeyError::Broken, "bit {bit}");
    }
    assert_ne!(ring.fresh(&context, &entropy).1, wraps, "every data key is drawn anew");
}
