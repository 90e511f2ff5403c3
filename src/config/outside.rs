//! What a value may be taken from instead of the configuration itself: the environment and small files.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The most that a value's file may hold.
const VALUE_BYTES_MAX: u64 = 64 * 1024;

/// Where `{ env = "NAME" }` and `{ file = "PATH" }` are looked up.
pub trait Outside {
    /// The variable's value; `None` if it is not set or is not UTF-8.
    fn env(&self, name: &str) -> Option<String>;
    /// The whole text of a small file.
    fn file(&self, path: &Path) -> io::Result<String>;
}

/// This process's environment and this machine's files.
#[derive(Clone, Copy, Debug, Default)]
pub struct Machine;

impl Outside for Machine {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    fn env(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        let mut text = String::new();
        File::open(path)?.take(VALUE_BYTES_MAX + 1).read_to_string(&mut text)?;
        if u64::try_from(text.len()).unwrap_or(u64::MAX) > VALUE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "a value's file holds at most 64 KiB"));
        }
        Ok(text)
    }
}
