//! Row S12 of the fault matrix, for a key service: credentials that KMS finds stale before they say so themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_credential_types::provider::future;
use aws_sdk_kms::config::{ProvideCredentials, SharedCredentialsProvider};
use holdfast::crypto::keyring::KeyContext;
use holdfast::crypto::service::Trouble;
use holdfast::model::Epoch;

use crate::double::{Double, STALE};
use crate::faults::{World, write, write_on};
use crate::{ACCESS, access_key, client_of};

const LOG: KeyContext = KeyContext { stream: [5; 16], epoch: Epoch::new(2) };

/// Gives other credentials each time it is asked, and counts.
#[derive(Clone, Debug, Default)]
struct Rotating(Arc<AtomicU64>);

impl ProvideCredentials for Rotating {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let access = if self.0.fetch_add(1, Ordering::Relaxed) == 0 { ACCESS } else { "AKIAFRESH" };
        future::ProvideCredentials::ready(Ok(access_key(access)))
    }
}

#[tokio::test]
async fn s12_stale_credentials_are_asked_for_anew_whatever_is_asked() {
    for code in STALE {
        let (double, provider) = (Double::start().await, Rotating::default());
        let kms = client_of(&double.endpoint, "alias/holdfast", SharedCredentialsProvider::new(provider.clone())).await;
        let (data, wrapped) = kms.generate(&LOG).await.unwrap();
        kms.state().await.unwrap();
        assert_eq!(provider.0.load(Ordering::Relaxed), 1, "kept while they serve");
        double.expire(ACCESS, code);
        assert_eq!(kms.unwrap(&wrapped.bytes, &LOG).await.unwrap().as_bytes(), data.as_bytes(), "{code}");
        kms.generate(&LOG).await.map(drop).unwrap();
        kms.wrap(&data, &LOG).await.map(drop).unwrap();
        kms.state().await.unwrap();
        assert_eq!((double.fired(), provider.0.load(Ordering::Relaxed)), (1, 2), "{code}: once is enough");
    }
}

/// Whoever hands out credentials may be late. Told as "this role may not", it would end the writer with the day.
#[tokio::test]
async fn s12_l11_credentials_that_stay_stale_are_an_outage_and_sealing_goes_on() {
    let world = World::new().await;
    let mut writer = world.writer().await.unwrap();
    write_on(&mut writer, 1).await.unwrap();
    world.double.expire(ACCESS, STALE[0]);
    world.clock.advance(Duration::from_hours(25));
    for number in 2..=4 {
        write(&mut writer, number).await.unwrap();
    }
    assert!(world.double.fired() > 1, "the fault never struck");
    let trouble = world.env.keys.health().trouble.unwrap().error;
    assert_eq!(trouble.trouble, Trouble::Unavailable);
    assert!(trouble.to_string().contains(STALE[0]), "KMS's own word is told: {trouble}");
}
