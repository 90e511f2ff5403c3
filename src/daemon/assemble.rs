//! From settings to parts: the one place where traits meet concrete types.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::codec::segment::Suite;
use crate::config::{Cipher, Config, Identity, KeySettings, SourceSettings, StorePlace, StoreSettings};
use crate::connect::kms::{Kms, KmsTarget};
use crate::connect::{ConnectTarget, TargetError};
use crate::crypto::file::{KeyFile, KeyFileError};
use crate::crypto::{KeyError, Keyring};
use crate::daemon::keeper::SledPlace;
use crate::daemon::strangers::{self, StrangerError};
use crate::daemon::witness::SlotWitness;
use crate::entropy::Entropy;
use crate::log::{CutRule, LogEnv};
use crate::model::SourceName;
use crate::source::postgres::names;
use crate::source::postgres::stream::PostgresSettings;
use crate::store::layout;
use crate::store::s3::{BYTES_PER_SECOND_MIN, S3Place, S3Settings, S3Store};
use crate::store::{FolderStore, RetryRule, Retrying, Store, StoreError, Verdict, refuses_second_put};

/// How long a request to the store is tried before the part that asked gives up. Longer would hold a server's orderly
/// shutdown back, since it waits for us to confirm what it sent.
const STORE_RETRY: RetryRule = RetryRule {
    first_wait: Duration::from_millis(50),
    wait_max: Duration::from_secs(2),
    deadline: Duration::from_secs(10),
};

/// The same for a bucket: two tries that get no answer, and what its bytes need on a slow road besides.
const BUCKET_RETRY: RetryRule = RetryRule {
    first_wait: Duration::from_millis(100),
    wait_max: Duration::from_secs(5),
    deadline: Duration::from_secs(10),
};

/// A part cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// The key cannot be used.
    #[error("the key cannot be used")]
    Key(#[from] KeyFileError),
    /// No data key can be had: a daemon that cannot seal does not start.
    #[error("no data key can be had, and without one nothing may begin")]
    DataKey(#[from] KeyError),
    /// The store cannot be used.
    #[error("the store cannot be used")]
    Store(#[from] StoreError),
    /// The store cannot keep two writers apart.
    #[error(
        "the store {place} lets an object be put twice ({verdict:?}); two daemons could overwrite each other: use another server"
    )]
    Overwrites {
        /// Which store.
        place: String,
        /// What it did.
        verdict: Verdict,
    },
    /// The store is another installation's.
    #[error("the store is not this installation's")]
    Stranger(#[from] StrangerError),
    /// A source's address cannot be used.
    #[error("the address of source {name} cannot be used")]
    Target {
        /// Which source.
        name: SourceName,
        /// Why.
        #[source]
        source: TargetError,
    },
}

/// The first store, key, clock and randomness, as configured. Mirrors are put behind it by
/// [`mirrors`](crate::daemon::mirrors).
pub async fn log_env(
    config: &Config,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
) -> Result<LogEnv, AssembleError> {
    let keys = keyring(&config.key).await?;
    Ok(LogEnv {
        store: open_store(&config.store, clock, entropy).await?,
        keys: Arc::new(keys),
        suite: match config.key.cipher {
            Cipher::ChaCha20Poly1305 => Suite::ChaCha20Poly1305,
            Cipher::Aes256Gcm => Suite::Aes256Gcm,
        },
        clock: Arc::clone(clock),
        entropy: Arc::clone(entropy),
    })
}

/// A store, as configured: there, and tried again where that helps.
pub async fn open_store(
    settings: &StoreSettings,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
) -> Result<Arc<dyn Store>, StoreError> {
    let inner = plain_store(settings, clock).await?;
    let retrying = Retrying::new(inner, Arc::clone(clock), Arc::clone(entropy), retry_rule(&settings.place));
    let store: Arc<dyn Store> = Arc::new(match &settings.place {
        StorePlace::Folder(_) => retrying,
        StorePlace::S3(_) => retrying.on_a_road(BYTES_PER_SECOND_MIN),
    });
    // A folder says itself whether it is there; a bucket is asked once, before anything relies on it.
    match &settings.place {
        StorePlace::Folder(_) => {}
        StorePlace::S3(_) => drop(store.list(layout::PROBES_PREFIX, None).await?),
    }
    Ok(store)
}

/// A store, as configured, each request tried once. A bucket is asked nothing yet.
pub async fn plain_store(settings: &StoreSettings, clock: &Arc<dyn Clock>) -> Result<Arc<dyn Store>, StoreError> {
    Ok(match &settings.place {
        StorePlace::Folder(folder) => Arc::new(FolderStore::open(folder, Arc::clone(clock)).await?),
        StorePlace::S3(place) => Arc::new(bucket(place, clock).await?),
    })
}

/// How long a request is tried.
pub const fn retry_rule(place: &StorePlace) -> RetryRule {
    match place {
        StorePlace::Folder(_) => STORE_RETRY,
        StorePlace::S3(_) => BUCKET_RETRY,
    }
}

/// The way to a bucket, for what only a bucket can be asked. Asks it nothing.
pub async fn bucket(place: &S3Place, clock: &Arc<dyn Clock>) -> Result<S3Store, StoreError> {
    S3Store::open(S3Settings::of(place.clone()), Arc::clone(clock)).await
}

/// Refuses a bucket that lets a second put through: on it two daemons would write one log (L5). A folder cannot lie
/// about that; a server can. Refuses a store with another installation's history, too.
pub async fn prove(config: &Config, env: &LogEnv) -> Result<(), AssembleError> {
    strangers::refuse(env, &config.store.place.to_string()).await?;
    match &config.store.place {
        StorePlace::Folder(_) => Ok(()),
        StorePlace::S3(_) => match refuses_second_put(&*env.store, &*env.entropy).await? {
            Verdict::Sound => Ok(()),
            verdict @ (Verdict::OverwriteClaimed | Verdict::Overwritten | Verdict::Winners(_)) => {
                Err(AssembleError::Overwrites { place: config.store.place.to_string(), verdict })
            }
        },
    }
}

/// The keys, as configured. A key service is not asked yet.
pub async fn keyring(key: &KeySettings) -> Result<Keyring, AssembleError> {
    let file = key.file.as_deref().map(KeyFile::read).transpose()?;
    let mut ring = Keyring::of_key_file(file.unwrap_or_default()).with_recovery(key.recovery);
    if let Some(kms) = &key.kms {
        ring = ring.with_service(Arc::new(Kms::open(&kms.target, None).await));
        for old in &kms.old {
            let target = KmsTarget { key_id: old.clone(), ..kms.target.clone() };
            ring = ring.with_service(Arc::new(Kms::open(&target, None).await));
        }
    }
    Ok(ring)
}

/// Where the catalog is.
pub fn catalog_place(state_dir: &Path, clock: &Arc<dyn Clock>) -> SledPlace {
    SledPlace { folder: state_dir.join("catalog"), clock: Arc::clone(clock) }
}

/// Where those who take bases say so.
pub fn base_claims(state_dir: &Path) -> PathBuf {
    state_dir.join("bases")
}

/// When segments are cut, as configured.
pub const fn cut_rule(config: &Config) -> CutRule {
    CutRule { segment_bytes: config.log.segment_bytes, segment_age: config.log.segment_age }
}

/// Where a source is.
pub fn target(source: &SourceSettings) -> Result<ConnectTarget, AssembleError> {
    parse_target(source, source.postgres.expose())
}

/// Where a source is, for `init`.
pub fn admin_target(source: &SourceSettings) -> Result<ConnectTarget, AssembleError> {
    parse_target(source, source.admin_or_own().expose())
}

fn parse_target(source: &SourceSettings, url: &str) -> Result<ConnectTarget, AssembleError> {
    let wrong = |error| AssembleError::Target { name: source.name.clone(), source: error };
    url.parse::<ConnectTarget>().map_err(wrong)
}

/// Where a source's slot can be asked what was durable.
pub fn slot_witness(source: &SourceSettings) -> Result<SlotWitness, AssembleError> {
    Ok(SlotWitness { target: target(source)?, slot: names::slot(&source.name) })
}

/// How a source is captured.
pub fn capture_settings(source: &SourceSettings) -> Result<PostgresSettings, AssembleError> {
    let publications: &[&str] = match source.identity {
        Identity::Full => &[names::PUBLICATION],
        Identity::Leave => &[names::PUBLICATION, names::PUBLICATION_KEYED],
    };
    Ok(PostgresSettings {
        name: source.name.clone(),
        target: target(source)?.with_application_name(&names::slot(&source.name)),
        publications: publications.iter().map(|&name| name.to_owned()).collect(),
        heartbeat: source.heartbeat,
    })
}
