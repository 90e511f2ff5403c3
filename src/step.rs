//! Named steps of the write side, at each of which a drill may kill the process: the proof that no step loses data.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// A place where the process may die. What is on disk and on the server then is what the laws are tested against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// A record came from the source and is in no segment yet.
    RecordRead,
    /// A segment was cut and is not sealed.
    Cut,
    /// A segment was sealed and nothing was sent.
    Sealed,
    /// The object's bytes were handed to the store, which has not answered.
    PutSent,
    /// A folder store has linked the object and not synced its folder.
    ObjectLinked,
    /// A folder store has synced the folder and not answered.
    FolderSynced,
    /// A segment is durable and in the catalog, not acknowledged.
    Catalogued,
    /// A position was acknowledged to the source.
    Acknowledged,
    /// A fence is durable and its writer has written nothing else.
    Fence,
    /// A checkpoint is durable.
    Checkpoint,
    /// One object of a base is durable, its manifest not.
    BaseObject,
    /// A base's manifest is durable.
    Manifest,
    /// Between two statements of `init`.
    InitStatement,
    /// A boundary is durable and nothing behind it was deleted.
    Boundary,
    /// One object that expired is gone.
    Deleted,
}

impl Step {
    /// Every step, in the order in which a record meets them.
    pub const ALL: [Self; 15] = [
        Self::RecordRead,
        Self::Cut,
        Self::Sealed,
        Self::PutSent,
        Self::ObjectLinked,
        Self::FolderSynced,
        Self::Catalogued,
        Self::Acknowledged,
        Self::Fence,
        Self::Checkpoint,
        Self::BaseObject,
        Self::Manifest,
        Self::InitStatement,
        Self::Boundary,
        Self::Deleted,
    ];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RecordRead => "record-read",
            Self::Cut => "cut",
            Self::Sealed => "sealed",
            Self::PutSent => "put-sent",
            Self::ObjectLinked => "object-linked",
            Self::FolderSynced => "folder-synced",
            Self::Catalogued => "catalogued",
            Self::Acknowledged => "acknowledged",
            Self::Fence => "fence",
            Self::Checkpoint => "checkpoint",
            Self::BaseObject => "base-object",
            Self::Manifest => "manifest",
            Self::InitStatement => "init-statement",
            Self::Boundary => "boundary",
            Self::Deleted => "deleted",
        }
    }

    /// Says that the process stands at this step. Dies here, by SIGKILL, if a drill asked for it.
    pub fn reached(self) {
        if let Some(death) = DEATH.get()
            && death.at == self
            && death.passes_left.fetch_sub(1, Ordering::Relaxed) == 1
        {
            // SIGKILL: no destructor, no flush, no goodbye, as when the power goes.
            if rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).is_ok() {
                loop {
                    std::hint::spin_loop();
                }
            }
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// When to die: the n-th time that a step is reached. Written `sealed` or `sealed:3`.
#[derive(Debug)]
pub struct Death {
    at: Step,
    passes_left: AtomicU32,
}

static DEATH: OnceLock<Death> = OnceLock::new();

impl Death {
    /// Arms the drill for the life of this process; the first call counts.
    pub fn arm(self) {
        DEATH.get_or_init(|| self);
    }
}

/// A text that names no step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such step: {0:?}; write a step's name, or name:N for the N-th time it is reached")]
pub struct DeathError(String);

impl FromStr for Death {
    type Err = DeathError;

    fn from_str(text: &str) -> Result<Self, DeathError> {
        let (name, times) = text.split_once(':').unwrap_or((text, "1"));
        let at = Step::ALL.into_iter().find(|step| step.name() == name);
        match (at, times.parse::<u32>()) {
            (Some(at), Ok(times @ 1..)) => Ok(Self { at, passes_left: AtomicU32::new(times) }),
            (_, _) => Err(DeathError(text.to_owned())),
        }
    }
}
