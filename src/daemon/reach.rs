//! Asks every output's far side whether a delivery would work, without a daemon and without sending one: `check --connect`.
//!
//! Never: opens the journal; uses credentials that change while in use, for then the daemon's own would be void.

use super::blueprint::Blueprint;
use super::outputs::OutputPlan;
use super::start::kit;
use crate::model::Clock;
use futures_util::{StreamExt, stream};
use std::sync::Arc;

/// How many outputs are asked at once.
const AT_ONCE: usize = 16;

/// What became of asking one output.
pub struct Reached {
    /// Its name.
    pub output: Arc<str>,
    /// What its far side says.
    pub said: Said,
}

/// What an output's far side says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// A delivery would work, as far as can be told without one.
    Works,
    /// It would not; one line without secrets.
    Fails(String),
    /// Its credentials change with each use: only a running daemon may use them.
    NotAsked,
}

/// Asks all outputs, each for as long as an attempt may take. In the order of the file.
pub async fn reach(blueprint: &Blueprint, clock: &Arc<dyn Clock>) -> Vec<Reached> {
    stream::iter(&blueprint.outputs).map(|plan| ask(plan, blueprint, clock)).buffered(AT_ONCE).collect().await
}

async fn ask(plan: &OutputPlan, blueprint: &Blueprint, clock: &Arc<dyn Clock>) -> Reached {
    Reached { output: Arc::clone(&plan.name), said: answer(plan, blueprint, clock).await }
}

async fn answer(plan: &OutputPlan, blueprint: &Blueprint, clock: &Arc<dyn Clock>) -> Said {
    if plan.config.login().is_some() {
        return Said::NotAsked;
    }
    let whole = async {
        let output = plan.config.connect(&kit(plan, clock, blueprint)).await.map_err(|why| why.to_string())?;
        let mut said = output.check().await;
        for fixed in blueprint.router.fixed(&plan.name) {
            if said.is_ok() {
                said = output.check_message(&fixed).await;
            }
        }
        output.close().await;
        said.map_err(|why| why.to_string())
    };
    match tokio::time::timeout(plan.policy.timeout, whole).await {
        Ok(Ok(())) => Said::Works,
        Ok(Err(why)) => Said::Fails(why),
        Err(_) => Said::Fails(format!("no answer within {:?}", plan.policy.timeout)),
    }
}
