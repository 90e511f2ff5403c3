//! The way to a bucket: one try at a time, within its time, at the pace that the store asks for.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aws_config::BehaviorVersion;
use aws_config::SdkConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{IdentityCache, Region, RequestChecksumCalculation, ResponseChecksumValidation};
use futures::future::BoxFuture;

use crate::clock;
use crate::clock::Clock;
use crate::store::error::{Op, Refusal, StoreError, StoreErrorKind};
use crate::store::s3::fault::Trouble;
use crate::store::s3::pace::Pace;
use crate::store::s3::settings::{Identity, S3Patience, S3Place, S3Settings, Style};

/// Where a request is signed for when a server of one's own has no region.
const REGION_OF_OWN_SERVERS: &str = "us-east-1";
/// Requests in a row whose time is refused before a person has to set the clock: as many as may be under way at once.
const SKEWS_MAX: u32 = 8;

/// The SDK's client and what surrounds each of its requests.
pub(crate) struct Link {
    client: Mutex<Client>,
    place: S3Place,
    patience: S3Patience,
    clock: Arc<dyn Clock>,
    pub(crate) pace: Pace,
    /// Requests in a row whose time the store refused.
    skewed: AtomicU32,
}

impl Link {
    pub(crate) async fn open(settings: S3Settings, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let S3Settings { place, identity, patience } = settings;
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12());
        if let Some(region) = &place.region {
            loader = loader.region(Region::new(region.clone()));
        } else if place.endpoint.is_some() {
            loader = loader.region(Region::new(REGION_OF_OWN_SERVERS));
        }
        if let Identity::Given(provider) = identity {
            loader = loader.credentials_provider(provider);
        }
        // On the heap: what the chain asks in turn makes one large future.
        let shared = Box::pin(loader.load()).await;
        if shared.region().is_none() {
            let kind = StoreErrorKind::Refused(Refusal::WrongRegion);
            return Err(StoreError::new(Op::Open, format!("s3://{}/{}", place.bucket, place.prefix), kind));
        }
        let client = Mutex::new(client(&shared, &place, patience));
        Ok(Self { client, place, patience, clock, pace: Pace::default(), skewed: AtomicU32::default() })
    }

    pub(crate) fn client(&self) -> Client {
        self.client.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn bucket(&self) -> &str {
        &self.place.bucket
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.place.prefix
    }

    /// A name in the bucket.
    pub(crate) fn name(&self, key: &str) -> String {
        format!("{}{key}", self.place.prefix)
    }

    /// What errors call the whole place.
    pub(crate) fn shown(&self) -> String {
        format!("s3://{}/{}", self.place.bucket, self.place.prefix)
    }

    /// One try that carries `bytes`, body and all. Dropping it when its time is over closes its connection, so that the
    /// next one takes another.
    pub(crate) async fn attempt<T>(
        &self,
        op: Op,
        what: &str,
        bytes: u64,
        call: BoxFuture<'_, Result<T, Trouble>>,
    ) -> Result<T, StoreError> {
        self.pace.turn(&*self.clock).await;
        let within = clock::timeout(&*self.clock, self.patience.attempt(bytes), call);
        let trouble = match within.await {
            Ok(Ok(done)) => {
                self.pace.went_well();
                self.skewed.store(0, Ordering::Relaxed);
                return Ok(done);
            }
            Ok(Err(trouble)) => trouble,
            Err(elapsed) => elapsed.into(),
        };
        if trouble.asks_for_less() {
            self.pace.slow_down();
        }
        if trouble.asks_for_credentials() {
            self.forget_credentials();
        }
        let what = if what.is_empty() { self.shown() } else { what.to_owned() };
        // "Not satisfiable": the size is asked for by whoever knows what it means.
        if trouble.has_status(416) {
            return Err(StoreError::new(op, what, StoreErrorKind::Short { size: 0 }));
        }
        let is_skewed = trouble.is_skewed();
        let error = trouble.told(op, &what);
        // The SDK takes the store's time from each answer, so that what was refused for its time is signed anew by that.
        if is_skewed && self.skewed.fetch_add(1, Ordering::Relaxed) < SKEWS_MAX {
            return Err(StoreError { kind: StoreErrorKind::Unavailable, ..error });
        }
        Err(error)
    }

    /// The head of an answer. It comes within the time to answer, whatever body it announces: silence must not cost the
    /// time that the largest object may take.
    pub(crate) async fn head_of<T, E>(&self, request: impl Future<Output = Result<T, E>> + Send) -> Result<T, Trouble>
    where
        Trouble: From<E>,
    {
        Ok(clock::timeout(&*self.clock, self.patience.answer, request).await??)
    }

    /// A body of `bytes`, which the head announced.
    pub(crate) async fn body_of<T>(
        &self,
        bytes: u64,
        body: impl Future<Output = Result<T, Trouble>> + Send,
    ) -> Result<T, Trouble> {
        clock::timeout(&*self.clock, self.patience.attempt(bytes), body).await?
    }

    /// The next request asks the chain anew: credentials can be revoked long before they say they expire.
    fn forget_credentials(&self) {
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = client.config().to_builder().identity_cache(IdentityCache::lazy().build()).build();
        *client = Client::from_conf(fresh);
    }
}

fn client(shared: &SdkConfig, place: &S3Place, patience: S3Patience) -> Client {
    let mut config = aws_sdk_s3::config::Builder::from(shared)
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::builder().connect_timeout(patience.connect).build())
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenSupported)
        .force_path_style(place.style == Style::Path);
    if let Some(endpoint) = &place.endpoint {
        config = config.endpoint_url(endpoint);
    }
    Client::from_conf(config.build())
}
