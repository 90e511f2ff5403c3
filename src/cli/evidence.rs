//! The report of a verification: a line of JSON for every object, written as it goes, so that its length does not matter.
//!
//! ```text
//!   {"object":"log/main/….seg","verdict":"sound","bytes":8388608,"sha256":"…"}
//!   {"object":"log/main/….seg","verdict":"damaged","what":"…"}
//!   {"outcome":"damaged","exit":4,"sources":[…]}             the last line; a report without it is not complete
//! ```
//! Where several things are wrong with one object it has several lines. The last line rules: with a wrong key it says
//! that nothing could be told, whatever was suspected of single objects before.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::log::scrub::Finding;
use crate::model::ObjectKey;

/// The report cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("the report {} cannot be written", path.display())]
pub struct EvidenceError {
    path: PathBuf,
    #[source]
    source: std::io::Error,
}

/// A report that is being written. The first error is kept and told at the end.
pub struct Evidence {
    path: PathBuf,
    out: BufWriter<File>,
    broken: Option<std::io::Error>,
}

impl Evidence {
    /// Begins a report in the place of one that was there.
    pub fn begin(path: &Path) -> Result<Self, Failure> {
        let path = path.to_owned();
        match File::create(&path) {
            Ok(file) => Ok(Self { path, out: BufWriter::new(file), broken: None }),
            Err(source) => Err(Failure::of(Exit::Failed, EvidenceError { path, source })),
        }
    }

    /// An object is as it should be.
    pub fn sound(&mut self, object: &ObjectKey, bytes: u64, hash: Option<&[u8; 32]>) {
        let hash = hash.map(hex::encode);
        self.line(&json!({ "object": object.as_str(), "verdict": "sound", "bytes": bytes, "sha256": hash }));
    }

    /// An object is not.
    pub fn found(&mut self, finding: &Finding) {
        let (object, verdict) = (finding.object.as_str(), finding.verdict.name());
        self.line(&json!({ "object": object, "verdict": verdict, "what": finding.what }));
    }

    fn line(&mut self, value: &Value) {
        if self.broken.is_none() {
            self.broken = writeln!(self.out, "{value}").err();
        }
    }

    /// Writes the outcome; the report is on disk then.
    pub fn end(mut self, outcome: &Value) -> Result<(), Failure> {
        self.line(outcome);
        let Self { path, out, broken } = self;
        let written = match broken {
            Some(error) => Err(error),
            None => out.into_inner().map_err(std::io::IntoInnerError::into_error).and_then(|file| file.sync_all()),
        };
        written.map_err(|source| Failure::of(Exit::Failed, EvidenceError { path, source }))
    }
}
