//! Sealed puts to a local S3 server beside the same SDK putting the same bytes plainly: both figures, and their ratio.
#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a program that measures")]
#![expect(clippy::disallowed_methods, reason = "it measures by the machine's clock")]

#[path = "../tests/s3/mod.rs"]
#[expect(dead_code, unreachable_pub, clippy::indexing_slicing, reason = "it needs the real server alone")]
mod s3;

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use futures::StreamExt;
use holdfast::clock::{Clock, SystemClock};
use holdfast::crypto::Sealed;
use holdfast::entropy::{Entropy, OsEntropy};
use holdfast::model::limits::{IN_FLIGHT_PUTS_MAX, SEGMENT_BYTES_DEFAULT};
use holdfast::store::{PutNew, RetryRule, Retrying, S3Store, Store};

use s3::servers::Server;

/// Objects of one round; both sides put as many at once as a log does.
const OBJECTS: usize = 24;
/// Rounds, taken in turns; the best of each side counts.
const ROUNDS: usize = 5;

#[tokio::main]
async fn main() {
    let server = Server::seaweed().await;
    let mut bytes = vec![0; SEGMENT_BYTES_DEFAULT];
    OsEntropy.fill(&mut bytes);
    let body = Bytes::from(bytes);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let store = S3Store::open(s3::settings(&server.endpoint, "ready", "ours/"), Arc::clone(&clock)).await.unwrap();
    let (first_wait, wait_max) = (Duration::from_millis(50), Duration::from_secs(2));
    let rule = RetryRule { first_wait, wait_max, deadline: Duration::from_mins(1) };
    let store = Retrying::new(Arc::new(store), clock, Arc::new(OsEntropy), rule);
    let plain = server.plain();
    let (mut ours, mut theirs) = (Duration::MAX, Duration::MAX);
    for round in 0..ROUNDS {
        let puts = (0..OBJECTS).map(|number| {
            let (key, body) = (format!("{round}/{number}").parse().unwrap(), Sealed::stored(body.clone()));
            let store = &store;
            async move { assert_eq!(store.put_new(&key, body).await.unwrap(), PutNew::Created) }
        });
        ours = ours.min(timed(puts).await);
        let puts = (0..OBJECTS).map(|number| {
            let put = plain.put_object().bucket("ready").key(format!("plain/{round}/{number}"));
            let put = put.body(ByteStream::from(body.clone())).send();
            async move { drop(put.await.unwrap()) }
        });
        theirs = theirs.min(timed(puts).await);
        clear(&plain).await;
    }
    let rate =
        |took: Duration| f64::from(u32::try_from(OBJECTS * SEGMENT_BYTES_DEFAULT).unwrap()) / took.as_secs_f64() / 1e6;
    println!(
        "store puts {:.0} MB/s, the SDK alone {:.0} MB/s, ratio {:.2}",
        rate(ours),
        rate(theirs),
        rate(ours) / rate(theirs)
    );
}

/// The server keeps what it is given, and this is a lot.
async fn clear(plain: &aws_sdk_s3::Client) {
    let page = plain.list_objects_v2().bucket("ready").send().await.unwrap();
    for object in page.contents() {
        plain.delete_object().bucket("ready").key(object.key().unwrap()).send().await.unwrap();
    }
}

async fn timed<F: Future<Output = ()>>(puts: impl Iterator<Item = F>) -> Duration {
    let started = Instant::now();
    futures::stream::iter(puts).buffer_unordered(IN_FLIGHT_PUTS_MAX).collect::<()>().await;
    started.elapsed()
}
