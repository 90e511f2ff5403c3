//! Makes a mirror the first store: what it lacks is said before, and the old first store is refused until it agrees.
//!
//! ```text
//!   old first store reachable:  claim there ─▶ fence there: its daemon stops ─▶ copy the rest ─┐
//!                        gone:  what only it holds is lost ────────────────────────────────────┤
//!                                    claim in the new first store ─▶ fence there ─▶ claims in the others
//! ```
//! Every step may be repeated: a promotion that broke off is finished by the next one. L5: the fence in the new store
//! stops whoever still puts the old one's objects into it; the claim keeps everyone else from starting on the old one.

use std::sync::Arc;
use std::time::Duration;

use crate::clock;
use crate::config::Config;
use crate::daemon::{chain, mirrors};
use crate::log::{History, LogEnv, LogError, fence};
use crate::model::limits::IN_FLIGHT_PUTS_MAX;
use crate::model::{Epoch, Position, Slot, SourceName, Timestamp};
use crate::store::mirror::PassError;
use crate::store::order::{self, Claim, OrderError};
use crate::store::{Store, StoreError, sources};

/// How long a store may take to say which one decides.
const ASKED_WITHIN: Duration = Duration::from_secs(10);

/// A mirror cannot be made the first store.
#[derive(Debug, thiserror::Error)]
pub enum PromoteError {
    /// A store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A log cannot be read or fenced.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The mirror cannot get the rest of what the old first store holds.
    #[error("what the old first store holds cannot be copied")]
    Copy(#[from] PassError),
    /// Which store decides cannot be read or written.
    #[error(transparent)]
    Order(#[from] OrderError),
}

/// Where a log ends in one store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The last object that counts.
    pub slot: Slot,
    /// Up to where everything is there.
    pub position: Position,
    /// The latest commit.
    pub time: Timestamp,
}

/// One log, in the store to be promoted and in the old first one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogStand {
    /// Whose log.
    pub source: SourceName,
    /// Where it ends in the store to be promoted; `None` if it holds nothing of it.
    pub here: Option<End>,
    /// Where it ends in the old first store; `None` if that cannot be told.
    pub there: Option<End>,
}

/// The store that decided until now.
#[derive(Debug)]
pub struct OldFirst {
    /// Its name.
    pub name: String,
    /// Why it cannot be read, if it cannot.
    pub silent: Option<String>,
    env: Option<LogEnv>,
}

/// What a promotion would do.
pub struct Plan {
    /// Who decides afterwards, and the number of the change.
    pub claim: Claim,
    /// Who decided until now; `None` if nobody else is known.
    pub old: Option<OldFirst>,
    /// Every log.
    pub logs: Vec<LogStand>,
    others: Vec<(String, Arc<dyn Store>)>,
}

/// What a promotion did.
#[derive(Debug)]
pub struct Promoted {
    /// The epoch of each log in the new first store.
    pub epochs: Vec<(SourceName, Epoch)>,
    /// Stores that could not be told.
    pub not_told: Vec<String>,
}

impl Plan {
    /// Looks at every store. `env` is that of the store to be promoted.
    pub async fn make(env: &LogEnv, config: &Config, name: &str) -> Result<Self, PromoteError> {
        let newest = order::newest(&*env.store).await?;
        let mut said: Vec<_> = newest.into_iter().collect();
        let (mut others, mut silent) = (Vec::new(), Vec::new());
        for settings in config.stores().filter(|settings| settings.name != name) {
            let store = mirrors::distant(env, settings);
            match clock::timeout(&*env.clock, ASKED_WITHIN, order::newest(&*store)).await {
                Ok(Ok(claim)) => said.extend(claim),
                Ok(Err(error)) => silent.push((settings.name.clone(), chain(&error))),
                Err(elapsed) => silent.push((settings.name.clone(), elapsed.to_string())),
            }
            others.push((settings.name.clone(), store));
        }
        let number = said.iter().map(|claim| claim.number).max().unwrap_or(0);
        let mut last = said.iter().filter(|claim| claim.number == number);
        // An interrupted promotion of this very store goes on under its number.
        let begun = number > 0 && last.clone().all(|claim| claim.name == name);
        let claim = Claim { number: if begun { number } else { number.saturating_add(1) }, name: name.to_owned() };
        let decided = last.find(|claim| claim.name != name).map(|claim| claim.name.clone());
        let decided = decided.or_else(|| (config.store.name != name).then(|| config.store.name.clone()));
        let old = decided.map(|old| {
            let store = others.iter().find(|(other, _)| *other == old).map(|(_, store)| Arc::clone(store));
            let why = silent.iter().find(|(other, _)| *other == old).map(|(_, why)| why.clone());
            let unnamed = store.is_none().then(|| "the configuration does not name it".to_owned());
            let silent = why.or(unnamed);
            let env = store.filter(|_| silent.is_none()).map(|store| LogEnv { store, ..env.clone() });
            OldFirst { name: old, silent, env }
        });
        let mut plan = Self { claim, old, logs: Vec::new(), others };
        plan.logs = plan.stands(env).await?;
        Ok(plan)
    }

    async fn stands(&mut self, env: &LogEnv) -> Result<Vec<LogStand>, PromoteError> {
        let mut names = sources(&*env.store).await?;
        if let Some(old) = &mut self.old
            && let Some(old_env) = &old.env
        {
            match sources(&*old_env.store).await {
                Ok(theirs) => names.extend(theirs),
                Err(error) => (old.silent, old.env) = (Some(chain(&error)), None),
            }
        }
        names.sort_unstable();
        names.dedup();
        let mut stands = Vec::new();
        for source in names {
            let here = end(env, &source).await?;
            let mut there = None;
            if let Some(old) = &mut self.old
                && let Some(old_env) = &old.env
            {
                match end(old_env, &source).await {
                    Ok(end) => there = end,
                    // A damaged first store is a reason to promote another one.
                    Err(error) => (old.silent, old.env) = (Some(chain(&error)), None),
                }
            }
            stands.push(LogStand { source, here, there });
        }
        Ok(stands)
    }

    /// Does it.
    pub async fn run(&self, env: &LogEnv) -> Result<Promoted, PromoteError> {
        if let Some(old) = self.old.as_ref().and_then(|old| old.env.as_ref()) {
            order::write(&*old.store, &self.claim).await?;
            for source in sources(&*old.store).await? {
                // A fence for each put that its daemon may have under way: none of them can land beside the new first
                // store's objects any more, and the old one can agree.
                for _ in 0..IN_FLIGHT_PUTS_MAX {
                    fence::take(old, &source, None).await?;
                }
            }
            let mirror = mirrors::for_once(env, &self.claim.name, Arc::clone(&env.store));
            mirror.catch_up_once(&old.store).await?;
        }
        order::write(&*env.store, &self.claim).await?;
        let mut epochs = Vec::new();
        for source in sources(&*env.store).await? {
            let reign = fence::take(env, &source, None).await?;
            epochs.push((source, reign.epoch));
        }
        let mut not_told = Vec::new();
        for (name, store) in &self.others {
            let told = clock::timeout(&*env.clock, ASKED_WITHIN, order::write(&**store, &self.claim)).await;
            if !matches!(told, Ok(Ok(()))) {
                not_told.push(name.clone());
            }
        }
        Ok(Promoted { epochs, not_told })
    }
}

async fn end(env: &LogEnv, source: &SourceName) -> Result<Option<End>, LogError> {
    let history = History::load(env, source).await?;
    Ok(history.last().map(|last| End { slot: last.slot, position: last.to, time: last.to_time }))
}
