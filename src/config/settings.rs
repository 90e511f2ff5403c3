//! The settings as used: checked, typed, with their defaults filled in.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::{NeedError, PostgresUrl};
use crate::connect::kms::KmsTarget;
use crate::crypto::recovery::RecoveryKey;
use crate::log::Hold;
use crate::model::SourceName;
use crate::store::s3::S3Place;

/// All settings of one installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The configuration that they come from, as it was named.
    pub file: PathBuf,
    /// `[service]`
    pub service: Service,
    /// `[key]`
    pub key: KeySettings,
    /// The first `[[store]]`: it alone decides.
    pub store: StoreSettings,
    /// The others, in order: they get the same bytes afterwards.
    pub mirrors: Vec<StoreSettings>,
    /// Every `[[source]]`; may be empty, since reading verbs need none.
    pub sources: Vec<SourceSettings>,
    /// `[log]`
    pub log: LogSettings,
    /// `[base]`
    pub base: BaseSettings,
    /// `[schema_image]`
    pub schema_image: SchemaImageSettings,
    /// `[retention]`
    pub retention: RetentionSettings,
    /// Every `[[hold]]`: stretches that are kept in every source.
    pub holds: Vec<Hold>,
    /// `[verify]`
    pub verify: VerifySettings,
    /// `[objectives]`
    pub objectives: Objectives,
    /// `[listen] http`; without it no port is opened.
    pub http: Option<SocketAddr>,
}

/// Who this is and where it keeps what it may lose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The platform's name, for people.
    pub name: Option<String>,
    /// `production`, `staging`: for people and metrics.
    pub environment: Option<String>,
    /// The folder of the catalog and the control socket.
    pub state_dir: Option<PathBuf>,
}

/// The key that wraps every data key, and what seals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySettings {
    /// The key's file. One of `file` and `kms` is there; with both, the file only opens.
    pub file: Option<PathBuf>,
    /// The key in AWS KMS.
    pub kms: Option<KmsSettings>,
    /// Everything is sealed for this one too.
    pub recovery: Option<RecoveryKey>,
    /// What new objects are sealed with; old ones say themselves what they were sealed with.
    pub cipher: Cipher,
}

/// A key in AWS KMS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KmsSettings {
    /// The one that wraps new data keys.
    pub target: KmsTarget,
    /// Keys that wrapped older ones; they only open.
    pub old: Vec<String>,
}

/// An authenticated cipher with a key of 256 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cipher {
    /// Fast on every machine.
    ChaCha20Poly1305,
    /// Fast where the processor has instructions for it; what some rules ask for by name.
    Aes256Gcm,
}

/// Where objects live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSettings {
    /// What commands and metrics call it.
    pub name: String,
    /// Where it is.
    pub place: StorePlace,
    /// Whether nothing is acknowledged to a source before this store has it. The first one always is.
    pub required: bool,
}

/// A folder or a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorePlace {
    /// A folder of this machine.
    Folder(PathBuf),
    /// A prefix of a bucket.
    S3(S3Place),
}

impl fmt::Display for StorePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "{}", path.display()),
            Self::S3(place) => write!(f, "s3://{}/{}", place.bucket, place.prefix),
        }
    }
}

/// What is captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceSettings {
    /// What commands, objects and metrics call it.
    pub name: SourceName,
    /// The database, as the daemon connects to it.
    pub postgres: PostgresUrl,
    /// The database, as `init` connects to it; the daemon's way if there is none.
    pub admin: Option<PostgresUrl>,
    /// What happens to tables without a usable identity.
    pub identity: Identity,
    /// Time between two proofs that the whole road works.
    pub heartbeat: Duration,
    /// How much WAL the slot may hold back on the source before it is given up (L12).
    pub slot_bytes_max: u64,
}

/// What happens to tables whose UPDATE and DELETE could not be told apart by row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// They get REPLICA IDENTITY FULL.
    Full,
    /// They are left alone, and their updates and deletes are a gap.
    Leave,
}

/// When a segment is cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// At this size, sealed.
    pub segment_bytes: usize,
    /// Or at this age.
    pub segment_age: Duration,
}

/// How bases are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseSettings {
    /// Time between two; `None` for none on a schedule.
    pub every: Option<Duration>,
    /// Connections that copy at once.
    pub jobs: usize,
}

/// When the schema is pictured after a DDL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaImageSettings {
    /// Once no DDL came for so long.
    pub quiet: Duration,
    /// Or at the latest after so long.
    pub max_wait: Duration,
}

/// What is kept, and whether the rest is deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionSettings {
    /// Bases stay restorable for so long.
    pub bases: Duration,
    /// Every instant stays restorable for so long.
    pub log: Duration,
    /// Whether the daemon deletes by itself.
    pub delete: bool,
}

/// How the daemon verifies the store by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifySettings {
    /// Time between two quick verifications; `None` for none by itself.
    pub quick: Option<Duration>,
    /// Time between two verifications of every byte; `None` for none by itself.
    pub full: Option<Duration>,
    /// Bytes that either reads in a second, at most.
    pub bytes_per_second: u64,
}

/// What was promised; alarms compare with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objectives {
    /// How much time of history may be lost.
    pub rpo: Duration,
    /// How long a restore may take.
    pub rto: Duration,
}

impl SourceSettings {
    /// How `init` connects.
    pub fn admin_or_own(&self) -> &PostgresUrl {
        self.admin.as_ref().unwrap_or(&self.postgres)
    }
}

impl KeySettings {
    /// The key file; an error if none is named.
    pub fn need_file(&self) -> Result<&Path, NeedError> {
        self.file.as_deref().ok_or(NeedError::NoKeyFile)
    }
}

impl Config {
    /// Every source; an error if there is none.
    pub fn need_sources(&self) -> Result<&[SourceSettings], NeedError> {
        if self.sources.is_empty() {
            return Err(NeedError::NoSource { file: self.file.clone() });
        }
        Ok(&self.sources)
    }

    /// The source `wanted`, or the only one.
    pub fn need_source(&self, wanted: Option<&str>) -> Result<&SourceSettings, NeedError> {
        let sources = self.need_sources()?;
        let names = || sources.iter().map(|source| source.name.as_str()).collect::<Vec<_>>().join(", ");
        match (wanted, sources) {
            (None, [only]) => Ok(only),
            (None, _) => Err(NeedError::WhichSource { file: self.file.clone(), names: names() }),
            (Some(wanted), _) => sources.iter().find(|source| source.name.as_str() == wanted).ok_or_else(|| {
                NeedError::NoSuchSource { file: self.file.clone(), wanted: wanted.to_owned(), names: names() }
            }),
        }
    }

    /// Every store, the first one first.
    pub fn stores(&self) -> impl Iterator<Item = &StoreSettings> {
        std::iter::once(&self.store).chain(&self.mirrors)
    }

    /// The same settings with the store `wanted` alone.
    pub fn with_store_alone(self, wanted: &str) -> Result<Self, NeedError> {
        let Some(store) = self.stores().find(|store| store.name == wanted).cloned() else {
            let names = self.stores().map(|store| store.name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(NeedError::NoSuchStore { file: self.file, wanted: wanted.to_owned(), names });
        };
        Ok(Self { store, mirrors: Vec::new(), ..self })
    }

    /// The folder of catalog and control socket; an error if none is set.
    pub fn need_state_dir(&self) -> Result<&Path, NeedError> {
        self.service.state_dir.as_deref().ok_or_else(|| NeedError::NoStateDir { file: self.file.clone() })
    }
}
