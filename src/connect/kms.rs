//! AWS KMS as a key service: five calls of `aws-sdk-kms`, each bounded in time, each failure with a name.
//!
//! The credentials are those of the SDK's own chain (environment, profile, web identity, container, instance), refreshed
//! by it; where KMS says that they are stale before they say so themselves, they are asked for anew. Every call names our configured key, never the one that a stored object names; KMS itself then refuses what
//! another key wrapped.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_kms::Client;
use aws_sdk_kms::config::retry::RetryConfig;
use aws_sdk_kms::config::timeout::TimeoutConfig;
use aws_sdk_kms::config::{IdentityCache, Region, SharedCredentialsProvider};
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{DataKeySpec, KeyState};
use zeroize::Zeroizing;

use crate::crypto::DataKey;
use crate::crypto::keyring::KeyContext;
use crate::crypto::service::{KeyService, KeyServiceError, ServiceWrap, Trouble};

/// Connecting, one attempt, and all attempts of one call together.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
const ATTEMPT_WITHIN: Duration = Duration::from_secs(5);
const CALL_WITHIN: Duration = Duration::from_secs(15);
/// Attempts of one call; whoever called tries again later, and seals under the key at hand meanwhile.
const ATTEMPTS: u32 = 3;
/// KMS wraps 32 bytes into less than 200; a header holds little more (L8).
const WRAPPED_BYTES_MAX: usize = 512;
/// What of an answer's own words is repeated.
const SAID_CHARS_MAX: usize = 300;

/// Where the key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KmsTarget {
    /// A key's id, its ARN, an alias or an alias's ARN.
    pub key_id: String,
    /// The region; the SDK's own search if none is named.
    pub region: Option<String>,
    /// Another endpoint than the region's.
    pub endpoint: Option<String>,
}

/// A key in AWS KMS.
#[derive(Debug)]
pub struct Kms {
    client: Mutex<Client>,
    key: String,
}

impl Kms {
    /// Makes the client; nothing is asked yet. Who asks is found when it is first needed, by the SDK's own search unless
    /// `identity` says.
    pub async fn open(target: &KmsTarget, identity: Option<SharedCredentialsProvider>) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_WITHIN)
            .operation_attempt_timeout(ATTEMPT_WITHIN)
            .operation_timeout(CALL_WITHIN)
            .build();
        let mut loader = aws_config::defaults(aws_config::BehaviorVersion::latest())
            .timeout_config(timeouts)
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS));
        if let Some(region) = &target.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(endpoint) = &target.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        if let Some(identity) = identity {
            loader = loader.credentials_provider(identity);
        }
        Self { client: Mutex::new(Client::new(&loader.load().await)), key: target.key_id.clone() }
    }

    fn client(&self) -> Client {
        self.client.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One call, and a second one as whoever the chain says anew where KMS finds the credentials stale.
    async fn ask<T, E, F>(&self, op: &'static str, call: impl Fn(Client) -> F + Send) -> Result<T, KeyServiceError>
    where
        E: std::error::Error + ProvideErrorMetadata + Send + 'static,
        F: Future<Output = Result<T, SdkError<E>>> + Send,
    {
        let error = match call(self.client()).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        match code(&error) {
            Some("KMSInvalidStateException") => return Err(self.invalid(self.refused(op, &error)).await),
            Some(code) if is_stale(code) => {}
            Some(_) | None => return Err(self.refused(op, &error)),
        }
        self.forget_credentials();
        call(self.client()).await.map_err(|error| self.refused(op, &error))
    }

    /// KMS has one word for many states of a key. Which it is decides what a person does and whether sealing goes on, so
    /// it is asked; by a role that may not ask, the worst is told.
    async fn invalid(&self, refused: KeyServiceError) -> KeyServiceError {
        let trouble = match KeyService::state(self).await {
            // It has come back meanwhile.
            Ok(()) => Trouble::Unavailable,
            Err(told) if told.trouble == Trouble::Denied => refused.trouble,
            Err(told) => told.trouble,
        };
        KeyServiceError { trouble, ..refused }
    }

    /// Credentials can be revoked, or replaced by whoever rotates them, long before they say they expire.
    fn forget_credentials(&self) {
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = client.config().to_builder().identity_cache(IdentityCache::lazy().build()).build();
        *client = Client::from_conf(fresh);
    }

    fn refused<E>(&self, op: &'static str, error: &SdkError<E>) -> KeyServiceError
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
    {
        let code = code(error);
        let said = match (code, error.as_service_error().and_then(ProvideErrorMetadata::message)) {
            (Some(code), Some(message)) => format!("{code}: {message}"),
            (Some(code), None) => code.to_owned(),
            (None, _) => causes(error),
        };
        let said = said.chars().filter(|letter| !letter.is_control()).take(SAID_CHARS_MAX).collect();
        KeyServiceError { op, key: self.key.clone(), trouble: trouble(error, code), said }
    }

    fn odd(&self, op: &'static str, said: &str) -> KeyServiceError {
        KeyServiceError { op, key: self.key.clone(), trouble: Trouble::Unexpected, said: said.to_owned() }
    }

    /// The parts of an answer that must be there.
    fn wrapped(
        &self,
        op: &'static str,
        key: Option<String>,
        blob: Option<Blob>,
    ) -> Result<ServiceWrap, KeyServiceError> {
        let bytes = blob.map(Blob::into_inner).filter(|bytes| (1..=WRAPPED_BYTES_MAX).contains(&bytes.len()));
        let bytes = bytes.ok_or_else(|| self.odd(op, "the answer holds no wrapped key of a usable length"))?;
        let key = key.filter(|key| key.len() <= WRAPPED_BYTES_MAX).unwrap_or_else(|| self.key.clone());
        Ok(ServiceWrap { key, bytes })
    }

    fn plain(&self, op: &'static str, blob: Option<Blob>) -> Result<DataKey, KeyServiceError> {
        let bytes = Zeroizing::new(blob.map(Blob::into_inner).unwrap_or_default());
        let key = <[u8; 32]>::try_from(bytes.as_slice());
        key.map(DataKey::from_bytes).map_err(|_| self.odd(op, "the answer holds no key of 32 bytes"))
    }
}

/// An error and what it came from, as they show themselves. The SDK's own `DisplayErrorContext` would print the raw
/// answer behind them, body and all, and a body may hold a data key (L6).
fn causes(error: &dyn std::error::Error) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(below) = cause {
        told = format!("{told}: {below}");
        cause = below.source();
    }
    told
}

fn code<E: ProvideErrorMetadata>(error: &SdkError<E>) -> Option<&str> {
    error.as_service_error().and_then(ProvideErrorMetadata::code)
}

/// Whether KMS knows the one who asks no longer, or not yet. That is no verdict on what the role may do.
fn is_stale(code: &str) -> bool {
    matches!(code, "ExpiredTokenException" | "ExpiredToken" | "UnrecognizedClientException" | "InvalidClientTokenId")
}

/// The kinds of trouble as KMS names them (KMS API Reference, *Common Errors* and the errors of each call).
fn trouble<E>(error: &SdkError<E>, code: Option<&str>) -> Trouble {
    match (error, code) {
        // Whoever hands out credentials has not done so yet: an outage, through which sealing goes on.
        (_, Some(code)) if is_stale(code) => Trouble::Unavailable,
        (_, Some("DisabledException")) => Trouble::Disabled,
        (_, Some("KMSInvalidStateException")) => Trouble::PendingDeletion,
        (_, Some("NotFoundException")) => Trouble::NotFound,
        (_, Some("InvalidCiphertextException")) => Trouble::WrongContext,
        (_, Some("IncorrectKeyException")) => Trouble::OtherKey,
        (
            _,
            Some(
                "AccessDeniedException"
                | "IncompleteSignature"
                | "InvalidSignatureException"
                | "MissingAuthenticationTokenException"
                | "OptInRequired"
                | "NotAuthorized"
                | "InvalidGrantTokenException",
            ),
        ) => Trouble::Denied,
        (_, Some("ThrottlingException" | "Throttling" | "LimitExceededException" | "TooManyRequestsException")) => {
            Trouble::Throttled
        }
        (
            _,
            Some(
                "KMSInternalException"
                | "DependencyTimeoutException"
                | "KeyUnavailableException"
                | "InternalFailure"
                | "InternalServerError"
                | "ServiceUnavailable"
                | "ServiceUnavailableException",
            ),
        ) => Trouble::Unavailable,
        (SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_), _) => {
            Trouble::Unavailable
        }
        (SdkError::ConstructionFailure(_), _) => Trouble::Denied,
        (_, _) => Trouble::Unexpected,
    }
}

#[async_trait::async_trait]
impl KeyService for Kms {
    fn key(&self) -> &str {
        &self.key
    }

    async fn generate(&self, context: &KeyContext) -> Result<(DataKey, ServiceWrap), KeyServiceError> {
        const OP: &str = "GenerateDataKey";
        let call = |client: Client| {
            let mut call = client.generate_data_key().key_id(&self.key).key_spec(DataKeySpec::Aes256);
            for (name, value) in context.pairs() {
                call = call.encryption_context(name, value);
            }
            call.send()
        };
        let answer = self.ask(OP, call).await?;
        let data = self.plain(OP, answer.plaintext)?;
        Ok((data, self.wrapped(OP, answer.key_id, answer.ciphertext_blob)?))
    }

    async fn wrap(&self, data: &DataKey, context: &KeyContext) -> Result<ServiceWrap, KeyServiceError> {
        const OP: &str = "Encrypt";
        let call = |client: Client| {
            let mut call = client.encrypt().key_id(&self.key).plaintext(Blob::new(data.as_bytes().as_slice()));
            for (name, value) in context.pairs() {
                call = call.encryption_context(name, value);
            }
            call.send()
        };
        let answer = self.ask(OP, call).await?;
        self.wrapped(OP, answer.key_id, answer.ciphertext_blob)
    }

    async fn unwrap(&self, wrapped: &[u8], context: &KeyContext) -> Result<DataKey, KeyServiceError> {
        const OP: &str = "Decrypt";
        let call = |client: Client| {
            let mut call = client.decrypt().key_id(&self.key).ciphertext_blob(Blob::new(wrapped));
            for (name, value) in context.pairs() {
                call = call.encryption_context(name, value);
            }
            call.send()
        };
        let answer = self.ask(OP, call).await?;
        self.plain(OP, answer.plaintext)
    }

    async fn state(&self) -> Result<(), KeyServiceError> {
        const OP: &str = "DescribeKey";
        let answer = self.ask(OP, |client| client.describe_key().key_id(&self.key).send()).await?;
        let state = answer.key_metadata.and_then(|metadata| metadata.key_state);
        let trouble = match state {
            None | Some(KeyState::Enabled | KeyState::Creating | KeyState::Updating) => return Ok(()),
            Some(KeyState::Disabled) => Trouble::Disabled,
            Some(KeyState::PendingDeletion | KeyState::PendingReplicaDeletion) => Trouble::PendingDeletion,
            Some(KeyState::Unavailable | KeyState::PendingImport) => Trouble::Unavailable,
            Some(_) => Trouble::Unexpected,
        };
        Err(KeyServiceError { op: OP, key: self.key.clone(), trouble, said: String::new() })
    }
}
