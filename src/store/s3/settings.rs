//! Where the bucket is, who asks, and how long a request may take.

use std::time::Duration;

use aws_sdk_s3::config::SharedCredentialsProvider;

/// A bucket and the way to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Place {
    /// The bucket.
    pub bucket: String,
    /// What every object's name in the bucket starts with: empty, or parts between slashes with one at the end.
    pub prefix: String,
    /// The bucket's region; none asks the SDK's chain, and with an endpoint of one's own it hardly matters.
    pub region: Option<String>,
    /// A server that is not AWS, as `http://HOST:PORT`.
    pub endpoint: Option<String>,
    /// Whether the bucket stands in the path or in the host's name.
    pub style: Style,
}

/// Where the bucket's name stands in a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// In the host's name, as AWS wants it.
    #[default]
    Host,
    /// In the path, as most other servers want it.
    Path,
}

/// Who asks.
#[derive(Clone, Debug, Default)]
pub enum Identity {
    /// Whom the SDK's chain finds: environment, profile, web identity, container, instance.
    #[default]
    Chain,
    /// Whom this provider says.
    Given(SharedCredentialsProvider),
}

/// How long one try of one request may take. How often it is tried is [`Retrying`](crate::store::Retrying)'s rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct S3Patience {
    /// To reach the server.
    pub connect: Duration,
    /// To answer, were there no bytes to carry.
    pub answer: Duration,
    /// Added for the bytes: a road slower than this is as good as none.
    pub bytes_per_second: u64,
}

impl Default for S3Patience {
    fn default() -> Self {
        Self { connect: Duration::from_secs(3), answer: Duration::from_secs(4), bytes_per_second: BYTES_PER_SECOND_MIN }
    }
}

/// The slowest road that counts as one.
pub const BYTES_PER_SECOND_MIN: u64 = 1_000_000;

impl S3Patience {
    /// What a try that carries `bytes` may take.
    pub fn attempt(&self, bytes: u64) -> Duration {
        let millis = bytes.saturating_mul(1000).checked_div(self.bytes_per_second).unwrap_or(0);
        self.answer.saturating_add(Duration::from_millis(millis))
    }
}

/// Everything that an S3 store is made from.
#[derive(Clone, Debug)]
pub struct S3Settings {
    /// The bucket and the way to it.
    pub place: S3Place,
    /// Who asks.
    pub identity: Identity,
    /// How long a try may take.
    pub patience: S3Patience,
}

impl S3Settings {
    /// As configured; all else as it comes.
    pub fn of(place: S3Place) -> Self {
        Self { place, identity: Identity::default(), patience: S3Patience::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_tries_without_an_answer_fit_into_ten_seconds_whatever_they_would_carry() {
        let patience = S3Patience::default();
        assert!(patience.attempt(0) * 2 < Duration::from_secs(9));
        assert!(patience.connect < patience.answer);
        assert_eq!(patience.attempt(16_000_000), Duration::from_secs(20));
    }
}
