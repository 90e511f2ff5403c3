//! The key file: a 256-bit key as a line of text that a person can copy to paper and back.
//!
//! ```text
//!   # comment lines
//!   holdfast-key-v1:<64 hexadecimal digits>:<8 digits, the first four bytes of the SHA-256 of the 64 digits>
//! ```
//! A file may hold several: the first wraps new data keys, all open. A line `AGE-SECRET-KEY-1…`, the private half of a
//! recovery key, opens too.
//!
//! A wrap by a key file is `salt [32] | sealed data key [32] | tag [16]`: ChaCha20-Poly1305 with a zero nonce under
//! HKDF-SHA256(key, salt, `"holdfast wrap v1"`), a key that is used once; the stream and epoch are its associated data.

use std::fmt;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::crypto::key::{DataKey, expand};
use crate::crypto::keyring::KeyContext;
use crate::crypto::recovery::RecoveryIdentity;
use crate::crypto::stream::sha256;
use crate::entropy::{Entropy, draw};
use crate::model::{KeyId, Recipient, Wrap};

const PREFIX: &str = "holdfast-key-v1:";

/// What is wrong with a key file.
#[derive(Debug, thiserror::Error)]
#[error("key file {path}: {kind}", path = path.display())]
pub struct KeyFileError {
    /// Which file.
    pub path: PathBuf,
    /// What is wrong.
    pub kind: KeyFileErrorKind,
    /// What the system said.
    #[source]
    pub source: Option<std::io::Error>,
}

/// What is wrong with a key file, and what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileErrorKind {
    /// There is one, and overwriting it would make every backup sealed with it unreadable.
    #[error("it exists and is never overwritten; move it away if you are sure that nothing needs it")]
    Exists,
    /// It cannot be written.
    #[error("it cannot be written")]
    Unwritable,
    /// It cannot be read.
    #[error("it cannot be read; `holdfast keys new` makes one for a new store")]
    Unreadable,
    /// Others may read it.
    #[error("others may read it; run chmod 600 on it")]
    Open,
    /// It is not a key file, or a digit of it was changed.
    #[error("it is no key file, or a digit of it is wrong; take the copy that you keep elsewhere")]
    Foreign,
}

/// A key from a key file.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct FileKey([u8; 32]);

impl fmt::Debug for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileKey({})", self.id())
    }
}

impl FileKey {
    /// A new key.
    pub fn fresh(entropy: &dyn Entropy) -> Self {
        Self(draw(entropy))
    }

    /// The key's fingerprint: the first sixteen bytes of SHA-256 of `"holdfast key id v1"` and the key.
    pub fn id(&self) -> KeyId {
        let hash = sha256(&[&b"holdfast key id v1"[..], &self.0].concat());
        KeyId::from_bytes(*hash.first_chunk().expect("32 bytes have sixteen"))
    }

    /// Writes the key to a new file with mode 0600; an existing file is never overwritten.
    pub fn write_new(&self, path: &Path) -> Result<(), KeyFileError> {
        write_new(path, &self.text())
    }

    /// The first key of a key file; it must not be readable by others.
    pub fn read(path: &Path) -> Result<Self, KeyFileError> {
        let foreign = || KeyFileError { path: path.to_owned(), kind: KeyFileErrorKind::Foreign, source: None };
        KeyFile::read(path)?.keys.into_iter().next().ok_or_else(foreign)
    }

    /// What stands in the file, with what a person should know.
    fn text(&self) -> Zeroizing<String> {
        let digits = Zeroizing::new(hex::encode(self.0));
        let sum = check_digits(&digits);
        Zeroizing::new(format!(
            "# Holdfast key {}. Whoever holds it can read every backup; without it none can be read.\n\
             # Keep a copy away from this machine and away from the store.\n{PREFIX}{}:{sum}\n",
            self.id(),
            *digits
        ))
    }

    fn parse(line: &str) -> Option<Self> {
        let (digits, sum) = line.strip_prefix(PREFIX)?.split_once(':')?;
        let mut key = Self([0; 32]);
        hex::decode_to_slice(digits, &mut key.0).ok()?;
        check_digits(&digits.to_ascii_lowercase()).eq_ignore_ascii_case(sum).then_some(key)
    }

    /// Wraps a data key.
    pub(crate) fn wrap(&self, data: &DataKey, context: &KeyContext, entropy: &dyn Entropy) -> Wrap {
        let salt: [u8; 32] = draw(entropy);
        let mut sealed = data.as_bytes().to_vec();
        let key = self.wrapping_key(&salt);
        let tag = key.seal_in_place_separate_tag(zero_nonce(), Aad::from(context.bytes()), &mut sealed);
        let tag = tag.expect("32 bytes can be sealed");
        let bytes = [&salt[..], &sealed, tag.as_ref()].concat();
        sealed.zeroize();
        Wrap { recipient: Recipient::KeyFile, key: self.id(), bytes }
    }

    /// Unwraps a data key; `None` if this key did not wrap it, or for another stream or epoch.
    pub(crate) fn unwrap(&self, wrap: &Wrap, context: &KeyContext) -> Option<DataKey> {
        let (salt, sealed) = wrap.bytes.split_first_chunk::<32>()?;
        let mut sealed = Zeroizing::new(sealed.to_vec());
        let opened = self.wrapping_key(salt).open_in_place(zero_nonce(), Aad::from(context.bytes()), &mut sealed);
        let key: &[u8] = opened.ok()?;
        Some(DataKey::from_bytes(key.try_into().ok()?))
    }

    fn wrapping_key(&self, salt: &[u8; 32]) -> LessSafeKey {
        let mut key = Zeroizing::new([0; 32]);
        expand(&self.0, salt, b"holdfast wrap v1", &mut *key);
        LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &*key).expect("the cipher takes 32 bytes"))
    }
}

/// All that a key file holds.
#[derive(Clone, Debug, Default)]
pub struct KeyFile {
    /// The first wraps new data keys.
    pub keys: Vec<FileKey>,
    /// Private halves of recovery keys.
    pub identities: Vec<RecoveryIdentity>,
}

impl KeyFile {
    /// Reads a key file; it must not be readable by others.
    pub fn read(path: &Path) -> Result<Self, KeyFileError> {
        let wrong = |kind, source| KeyFileError { path: path.to_owned(), kind, source };
        let unreadable = |error| wrong(KeyFileErrorKind::Unreadable, Some(error));
        let mode = std::fs::metadata(path).map_err(unreadable)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(wrong(KeyFileErrorKind::Open, None));
        }
        let text = Zeroizing::new(std::fs::read_to_string(path).map_err(unreadable)?);
        Self::parse(&text).ok_or_else(|| wrong(KeyFileErrorKind::Foreign, None))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut file = Self::default();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            match line.parse() {
                Ok(identity) => file.identities.push(identity),
                Err(_) => file.keys.push(FileKey::parse(line)?),
            }
        }
        (!file.keys.is_empty() || !file.identities.is_empty()).then_some(file)
    }

    /// Puts a new key in front of those of a key file: it wraps from now on, and the old ones stay and open. The file is
    /// replaced as a whole, once the new one is on the disk, and stays its owner's: root rotates for the daemon's user.
    pub fn put_in_front(path: &Path, key: &FileKey) -> Result<(), KeyFileError> {
        Self::read(path)?;
        let wrong =
            |error| KeyFileError { path: path.to_owned(), kind: KeyFileErrorKind::Unwritable, source: Some(error) };
        let before = Zeroizing::new(std::fs::read_to_string(path).map_err(wrong)?);
        let owner = std::fs::metadata(path).map_err(wrong)?;
        let beside = path.with_extension("new");
        write_new(&beside, &Zeroizing::new(format!("{}{}", *key.text(), *before)))?;
        let given = std::os::unix::fs::chown(&beside, Some(owner.uid()), Some(owner.gid()));
        let moved = given.and_then(|()| std::fs::rename(&beside, path));
        if moved.is_err() {
            // It holds every key, and it would stand in the way of the next rotation.
            drop(std::fs::remove_file(&beside));
        }
        moved.and_then(|()| sync_folder(path)).map_err(wrong)
    }
}

/// Writes the private half of a recovery key to a new file with mode 0600; an existing file is never overwritten.
pub fn write_identity(path: &Path, identity: &RecoveryIdentity) -> Result<(), KeyFileError> {
    let text = Zeroizing::new(format!(
        "# Holdfast recovery key. Public half: {}\n\
         # Keep this away from every machine that is connected to anything: it opens everything, when all else is gone.\n{}\n",
        identity.public(),
        *identity.secret_text()
    ));
    write_new(path, &text)
}

fn write_new(path: &Path, text: &str) -> Result<(), KeyFileError> {
    let wrong = |kind, source| KeyFileError { path: path.to_owned(), kind, source: Some(source) };
    let opened = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = opened.map_err(|error| {
        let exists = error.kind() == std::io::ErrorKind::AlreadyExists;
        wrong(if exists { KeyFileErrorKind::Exists } else { KeyFileErrorKind::Unwritable }, error)
    })?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).and_then(|()| sync_folder(path));
    written.map_err(|error| wrong(KeyFileErrorKind::Unwritable, error))
}

fn zero_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

fn check_digits(digits: &str) -> String {
    hex::encode(sha256(digits.as_bytes()).first_chunk::<4>().expect("32 bytes have four"))
}

fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    std::fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests;
