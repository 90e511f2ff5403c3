//! Watches the key service beside capture: asks now and then how the key is, and tells everyone who looks.
//!
//! L11: a key that is disabled or about to be deleted is told of within minutes, though sealing could go on for days.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, sleep};
use crate::crypto::Keyring;
use crate::crypto::sealing::{KeyHealth, KeyTrouble};
use crate::crypto::service::Trouble;
use crate::daemon::board::{Board, KeySight};
use crate::daemon::metrics::KEY_TROUBLES;
use crate::model::Tick;

/// How often what the ring knows goes to the board.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// How often the service itself is asked how the key is.
const LOOK_EVERY: Duration = Duration::from_mins(5);

/// Watches until it is dropped.
pub async fn run(keys: Arc<Keyring>, board: Arc<Board>, clock: Arc<dyn Clock>) {
    // A rise from nothing is no rise to whoever asks for the increase of a counter.
    for trouble in Trouble::ALL {
        metrics::counter!(KEY_TROUBLES.name, "kind" => trouble.name()).increment(0);
    }
    let mut look_at = Tick::default();
    let mut told: Option<KeyTrouble> = None;
    loop {
        if clock.tick() >= look_at {
            keys.look(&*clock).await;
            look_at = clock.tick().after(LOOK_EVERY);
        }
        let health = keys.health();
        board.see_keys(sight(&health));
        if health.trouble.as_ref().map(what) != told.as_ref().map(what) {
            tell(&health);
        }
        told = health.trouble;
        sleep(&*clock, TELL_EVERY).await;
    }
}

/// What a trouble is, whatever it said and since when.
const fn what(trouble: &KeyTrouble) -> &'static str {
    trouble.error.trouble.name()
}

fn tell(health: &KeyHealth) {
    let Some(trouble) = &health.trouble else {
        tracing::info!("the key service is well again");
        return;
    };
    let (key, kind) = (&trouble.error.key, trouble.error.trouble.name());
    tracing::error!(key, kind, error = %trouble.error, "The key service is in trouble");
    metrics::counter!(KEY_TROUBLES.name, "kind" => kind).increment(1);
}

fn sight(health: &KeyHealth) -> KeySight {
    KeySight {
        trouble: health.trouble.as_ref().map(|trouble| trouble.error.to_string()),
        since: health.trouble.as_ref().map(|trouble| trouble.since),
        seals_until: health.seals_until,
    }
}
