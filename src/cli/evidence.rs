//! The report of a verification: a line of JSON for every object, written as it goes, so that its length does not matter.
//!
//! ```text
//!   {"object":"log/main/….seg","verdict":"sound","bytes":8388608,"sha256":"…"}
//!   {"object":"log/main/….seg","verdict":"damaged","what":"…"}
//!   {"outcome":"damaged","exit":4,"sources":[…]}             the last line; a report without it is not complete
//! ```
//! An object has one line, which says all that was found while it was looked at; what expired under the eyes of the
//! verification has none. Only where a store keeps versions it may have one more, for what was put over it. The last line
//! rules: with a wrong key it says that nothing could be told, whatever was suspected of single objects before.

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::log::scrub::{Finding, Verdict};
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
    /// How much of it is written.
    bytes: u64,
    /// What was found of one object, until it is known that this is all.
    pending: Option<(ObjectKey, Verdict, String)>,
    broken: Option<std::io::Error>,
}

/// A place in a report: what was written before it stays.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mark(u64);

impl Evidence {
    /// Begins a report in the place of one that was there.
    pub fn begin(path: &Path) -> Result<Self, Failure> {
        let path = path.to_owned();
        match File::create(&path) {
            Ok(file) => Ok(Self { path, out: BufWriter::new(file), bytes: 0, pending: None, broken: None }),
            Err(source) => Err(Failure::of(Exit::Failed, EvidenceError { path, source })),
        }
    }

    /// An object is as it should be.
    pub fn sound(&mut self, object: &ObjectKey, bytes: u64, hash: Option<&[u8; 32]>) {
        self.settle();
        let hash = hash.map(hex::encode);
        self.line(&json!({ "object": object.as_str(), "verdict": "sound", "bytes": bytes, "sha256": hash }));
    }

    /// An object is not. Of several findings about it the worst verdict counts.
    pub fn found(&mut self, finding: &Finding) {
        let pending = match self.pending.take() {
            Some((object, verdict, what)) if object == finding.object => {
                (object, verdict.min(finding.verdict), format!("{what}; {}", finding.what))
            }
            other => {
                self.pending = other;
                self.settle();
                (finding.object.clone(), finding.verdict, finding.what.clone())
            }
        };
        self.pending = Some(pending);
    }

    /// Where the report stands now.
    pub fn mark(&mut self) -> Mark {
        self.settle();
        Mark(self.bytes)
    }

    /// Takes back what was written behind a mark.
    pub fn back_to(&mut self, mark: Mark) {
        self.pending = None;
        let cut = |out: &mut BufWriter<File>| {
            out.flush()?;
            out.get_mut().set_len(mark.0)?;
            out.seek(SeekFrom::Start(mark.0)).map(drop)
        };
        if self.broken.is_none() {
            self.broken = cut(&mut self.out).err();
            self.bytes = mark.0;
        }
    }

    /// All that is to be said of the last object has been said.
    fn settle(&mut self) {
        if let Some((object, verdict, what)) = self.pending.take() {
            self.line(&json!({ "object": object.as_str(), "verdict": verdict.name(), "what": what }));
        }
    }

    fn line(&mut self, value: &Value) {
        let line = format!("{value}\n");
        if self.broken.is_none() {
            self.broken = self.out.write_all(line.as_bytes()).err();
            self.bytes = self.bytes.saturating_add(u64::try_from(line.len()).unwrap_or(u64::MAX));
        }
    }

    /// Writes the outcome; the report is on disk then.
    pub fn end(mut self, outcome: &Value) -> Result<(), Failure> {
        self.settle();
        self.line(outcome);
        let Self { path, out, broken, .. } = self;
        let written = match broken {
            Some(error) => Err(error),
            None => out.into_inner().map_err(std::io::IntoInnerError::into_error).and_then(|file| file.sync_all()),
        };
        written.map_err(|source| Failure::of(Exit::Failed, EvidenceError { path, source }))
    }
}
