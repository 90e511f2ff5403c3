//! From settings to parts: the one place where traits meet concrete types.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::codec::segment::Suite;
use crate::config::{Cipher, Config, Identity, KeySettings, SourceSettings};
use crate::connect::kms::{Kms, KmsTarget};
use crate::connect::{ConnectTarget, TargetError};
use crate::crypto::file::{KeyFile, KeyFileError};
use crate::crypto::{KeyError, Keyring};
use crate::daemon::keeper::SledPlace;
use crate::daemon::witness::SlotWitness;
use crate::entropy::Entropy;
use crate::log::{CutRule, LogEnv};
use crate::model::SourceName;
use crate::source::postgres::names;
use crate::source::postgres::stream::PostgresSettings;
use crate::store::{FolderStore, RetryRule, Retrying, StoreError};

/// How long a request to the store is tried before the part that asked gives up. Longer would hold a server's orderly
/// shutdown back, since it waits for us to confirm what it sent.
const STORE_RETRY: RetryRule = RetryRule {
    first_wait: Duration::from_millis(50),
    wait_max: Duration::from_secs(2),
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

/// Store, key, clock and randomness, as configured.
pub async fn log_env(
    config: &Config,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
) -> Result<LogEnv, AssembleError> {
    let keys = keyring(&config.key).await?;
    let folder = FolderStore::open(&config.store.folder, Arc::clone(clock)).await?;
    let store = Retrying::new(Arc::new(folder), Arc::clone(clock), Arc::clone(entropy), STORE_RETRY);
    Ok(LogEnv {
        store: Arc::new(store),
        keys: Arc::new(keys),
        suite: match config.key.cipher {
            Cipher::ChaCha20Poly1305 => Suite::ChaCha20Poly1305,
            Cipher::Aes256Gcm => Suite::Aes256Gcm,
        },
        clock: Arc::clone(clock),
        entropy: Arc::clone(entropy),
    })
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
