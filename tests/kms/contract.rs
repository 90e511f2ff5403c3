//! One body for every key service: what must hold of the double and of moto alike; where moto differs the table says so.

use std::sync::Arc;

use holdfast::crypto::DataKey;
use holdfast::crypto::keyring::KeyContext;
use holdfast::crypto::service::{KeyService, Trouble};
use holdfast::model::Epoch;

use crate::client;
use crate::double::{Double, KeyIs};
use crate::moto::Moto;

const LOG: KeyContext = KeyContext { stream: [5; 16], epoch: Epoch::new(2) };

/// What is the same everywhere.
async fn keeps_the_contract(ours: &Arc<dyn KeyService>, nobody: &Arc<dyn KeyService>) {
    ours.state().await.unwrap();
    let (data, wrapped) = ours.generate(&LOG).await.unwrap();
    let opened = ours.unwrap(&wrapped.bytes, &LOG).await.unwrap();
    assert_eq!(opened.as_bytes(), data.as_bytes());
    assert!(!wrapped.bytes.windows(32).any(|window| window == data.as_bytes()), "the plain key in its wrap");
    let (other, _) = ours.generate(&LOG).await.unwrap();
    assert_ne!(other.as_bytes(), data.as_bytes());

    let known = DataKey::from_bytes([9; 32]);
    let again = ours.wrap(&known, &LOG).await.unwrap();
    assert_eq!(ours.unwrap(&again.bytes, &LOG).await.unwrap().as_bytes(), known.as_bytes());
    assert_eq!(again.key, wrapped.key);

    #[rustfmt::skip]
    let strangers = [
        (KeyContext { stream: [6; 16], ..LOG },       "another log's"),
        (KeyContext { epoch: Epoch::new(3), ..LOG },  "another reign's"),
        (KeyContext { epoch: Epoch::new(0), ..LOG },  "a base's"),
    ];
    for (context, why) in strangers {
        let error = ours.unwrap(&wrapped.bytes, &context).await.unwrap_err();
        assert_eq!(error.trouble, Trouble::WrongContext, "{why}: {error}");
    }
    let mut changed = wrapped.bytes.clone();
    *changed.last_mut().unwrap() ^= 1;
    assert_eq!(ours.unwrap(&changed, &LOG).await.unwrap_err().trouble, Trouble::WrongContext);
    for error in [nobody.generate(&LOG).await.map(drop).unwrap_err(), nobody.state().await.unwrap_err()] {
        assert_eq!(error.trouble, Trouble::NotFound, "{error}");
    }
}

#[tokio::test]
async fn the_double_keeps_the_contract() {
    let double = Double::start().await;
    let nobody = client(&double.endpoint, "alias/nobody").await;
    for key in ["alias/holdfast", &double.key()] {
        keeps_the_contract(&client(&double.endpoint, key).await, &nobody).await;
    }
    let contexts = double.contexts("GenerateDataKey");
    assert_eq!(contexts[0]["purpose"], "log");
    assert_eq!((contexts[0]["epoch"].as_str(), contexts[0]["stream"].len()), ("2", 32));
    // Of another key's wrap nothing opens, whoever may use that key: ours is named in every call.
    let theirs = client(&double.endpoint, &double.make_key()).await;
    let (_, wrapped) = theirs.generate(&LOG).await.unwrap();
    let ours = client(&double.endpoint, "alias/holdfast").await;
    assert_eq!(ours.unwrap(&wrapped.bytes, &LOG).await.unwrap_err().trouble, Trouble::OtherKey);
    #[rustfmt::skip]
    let states = [
        (KeyIs::Disabled,         Trouble::Disabled),
        (KeyIs::PendingDeletion,  Trouble::PendingDeletion),
        (KeyIs::Unavailable,      Trouble::Unavailable),
    ];
    let (_, wrapped) = ours.generate(&LOG).await.unwrap();
    for (is, trouble) in states {
        double.set(&double.key(), is);
        assert_eq!(ours.state().await.unwrap_err().trouble, trouble);
        assert_eq!(ours.generate(&LOG).await.map(drop).unwrap_err().trouble, trouble);
        assert_eq!(ours.unwrap(&wrapped.bytes, &LOG).await.map(drop).unwrap_err().trouble, trouble);
    }
    double.deny("DescribeKey");
    let worst = ours.generate(&LOG).await.map(drop).unwrap_err().trouble;
    assert_eq!(worst, Trouble::PendingDeletion, "where the state cannot be asked, the worst that it may be");
}

#[tokio::test]
async fn moto_keeps_the_contract_but_for_the_states_of_keys() {
    let moto = Moto::start().await;
    let (key, other) = (moto.make_key().await, moto.make_key().await);
    let ours = client(&moto.endpoint, &key).await;
    keeps_the_contract(&ours, &client(&moto.endpoint, "alias/nobody").await).await;
    let admin = moto.admin().await;
    admin.disable_key().key_id(&key).send().await.unwrap();
    assert_eq!(ours.state().await.unwrap_err().trouble, Trouble::Disabled, "DescribeKey says so");
    let differs = ours.generate(&LOG).await;
    assert!(
        differs.is_ok(),
        "moto lets a disabled key work, which AWS does not; should it learn, move this to the table"
    );
    admin.schedule_key_deletion().key_id(&other).send().await.unwrap();
    let theirs = client(&moto.endpoint, &other).await;
    assert_eq!(theirs.state().await.unwrap_err().trouble, Trouble::PendingDeletion);
}
