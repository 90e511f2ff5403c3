//! Servers that speak S3, for tests and drills: a double with faults of its own, and real ones that are started here.

pub mod double;
pub mod plan;
pub mod road;
pub mod servers;
pub mod wire;

use std::time::Duration;

use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider};
use holdfast::store::s3::{Identity, S3Patience, S3Place, S3Settings, Style};

/// Who asks, on every server here.
pub const ACCESS: &str = "AKHOLDFAST";
/// With which secret.
pub const SECRET: &str = "a-secret-of-tests";

/// The way to a bucket of a server on this machine.
pub fn settings(endpoint: &str, bucket: &str, prefix: &str) -> S3Settings {
    let place = S3Place {
        bucket: bucket.to_owned(),
        prefix: prefix.to_owned(),
        region: None,
        endpoint: Some(endpoint.to_owned()),
        style: Style::Path,
    };
    let credentials = Credentials::new(ACCESS, SECRET, None, None, "test");
    let identity = Identity::Given(SharedCredentialsProvider::new(credentials));
    S3Settings { place, identity, patience: S3Patience::default() }
}

/// A patience on which a test can wait.
pub fn short() -> S3Patience {
    S3Patience {
        connect: Duration::from_millis(500),
        answer: Duration::from_millis(500),
        bytes_per_second: 100_000_000,
    }
}
