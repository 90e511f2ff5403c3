//! A key service in memory for unit tests: its key is a key file's, and what it answers can be set.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::crypto::file::FileKey;
use crate::crypto::key::DataKey;
use crate::crypto::keyring::KeyContext;
use crate::crypto::service::{KeyService, KeyServiceError, ServiceWrap, Trouble};
use crate::entropy::SeededEntropy;
use crate::model::{Recipient, Wrap};

/// The service.
pub(crate) struct FakeService {
    key: FileKey,
    entropy: SeededEntropy,
    trouble: Mutex<Option<Trouble>>,
    denied: Mutex<Vec<&'static str>>,
    made: AtomicUsize,
    opened: AtomicUsize,
}

impl FakeService {
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        let entropy = SeededEntropy::new(seed);
        Arc::new(Self {
            key: FileKey::fresh(&entropy),
            entropy,
            trouble: Mutex::default(),
            denied: Mutex::default(),
            made: AtomicUsize::new(0),
            opened: AtomicUsize::new(0),
        })
    }

    pub(crate) fn set(&self, trouble: Option<Trouble>) {
        *self.trouble.lock().unwrap() = trouble;
    }

    pub(crate) fn deny(&self, op: &'static str) {
        self.denied.lock().unwrap().push(op);
    }

    /// Data keys made, and wraps opened.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.made.load(Ordering::Relaxed), self.opened.load(Ordering::Relaxed))
    }

    fn check(&self, op: &'static str) -> Result<(), KeyServiceError> {
        let denied = self.denied.lock().unwrap().contains(&op).then_some(Trouble::Denied);
        match denied.or(*self.trouble.lock().unwrap()) {
            Some(trouble) => Err(KeyServiceError { op, key: self.key().to_owned(), trouble, said: String::new() }),
            None => Ok(()),
        }
    }
}

#[async_trait::async_trait]
impl KeyService for FakeService {
    fn key(&self) -> &'static str {
        "fake"
    }

    async fn generate(&self, context: &KeyContext) -> Result<(DataKey, ServiceWrap), KeyServiceError> {
        self.check("GenerateDataKey")?;
        self.made.fetch_add(1, Ordering::Relaxed);
        let data = DataKey::fresh(&self.entropy);
        let wrap = self.wrap(&data, context).await?;
        Ok((data, wrap))
    }

    async fn wrap(&self, data: &DataKey, context: &KeyContext) -> Result<ServiceWrap, KeyServiceError> {
        self.check("Encrypt")?;
        Ok(ServiceWrap { key: "fake:1".to_owned(), bytes: self.key.wrap(data, context, &self.entropy).bytes })
    }

    async fn unwrap(&self, wrapped: &[u8], context: &KeyContext) -> Result<DataKey, KeyServiceError> {
        self.check("Decrypt")?;
        self.opened.fetch_add(1, Ordering::Relaxed);
        let wrap = Wrap { recipient: Recipient::KeyFile, key: self.key.id(), bytes: wrapped.to_vec() };
        let wrong = || KeyServiceError {
            op: "Decrypt",
            key: self.key().to_owned(),
            trouble: Trouble::WrongContext,
            said: String::new(),
        };
        self.key.unwrap(&wrap, context).ok_or_else(wrong)
    }

    async fn state(&self) -> Result<(), KeyServiceError> {
        self.check("DescribeKey")
    }
}
