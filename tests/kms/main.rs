//! Keys in KMS, through the real SDK and real HTTP: on a double whose keys have states, and on moto as a second opinion.
//!
//! The rows M1 to M3 of the fault matrix stand in `faults.rs`, each with the law that must hold.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "the doubles run beside the test")]

mod contract;
mod credentials;
mod double;
mod faults;
mod moto;
mod program;

use std::sync::Arc;

use aws_sdk_kms::config::{Credentials, SharedCredentialsProvider};
use holdfast::connect::kms::{Kms, KmsTarget};
use holdfast::crypto::service::KeyService;

/// Who asks.
const ACCESS: &str = "AKIATEST";

/// A client of `key` at `endpoint`, with credentials of its own.
async fn client(endpoint: &str, key: &str) -> Arc<dyn KeyService> {
    client_of(endpoint, key, SharedCredentialsProvider::new(access_key(ACCESS))).await
}

fn access_key(access: &str) -> Credentials {
    Credentials::new(access, "secret", None, None, "test")
}

/// A client whose credentials come from this provider.
async fn client_of(endpoint: &str, key: &str, identity: SharedCredentialsProvider) -> Arc<dyn KeyService> {
    let target = KmsTarget {
        key_id: key.to_owned(),
        region: Some("eu-central-1".to_owned()),
        endpoint: Some(endpoint.to_owned()),
    };
    Arc::new(Kms::open(&target, Some(identity)).await)
}
