//! What is to be known of outputs to say what would become of a delivery: their settings, how they are delivered to, and what must not be shown.

use super::blueprint::Blueprint;
use super::start::kit;
use crate::deliver::Policy;
use crate::model::{Clock, ConfigVersion};
use std::collections::BTreeMap;
use std::sync::Arc;
use switchyard_api::preview::HIDDEN;
use switchyard_api::{AnyConfig, Kit, Parcel, Preview, Secret};

/// All outputs of a configuration.
#[derive(Debug)]
pub struct Sights {
    /// Which configuration.
    pub version: ConfigVersion,
    outputs: BTreeMap<Arc<str>, Sight>,
    secrets: Arc<[Secret]>,
}

/// One output.
#[derive(Debug)]
pub struct Sight {
    /// The word after `type:`.
    pub kind: String,
    /// How it is delivered to.
    pub policy: Arc<Policy>,
    config: Arc<dyn AnyConfig>,
    kit: Kit,
}

impl Sights {
    /// Those of a blueprint. Connects to nothing.
    pub fn of(blueprint: &Blueprint, clock: &Arc<dyn Clock>) -> Self {
        let outputs = blueprint.outputs.iter().map(|plan| {
            let (policy, config) = (Arc::clone(&plan.policy), Arc::clone(&plan.config));
            (Arc::clone(&plan.name), Sight { kind: plan.kind.clone(), policy, config, kit: kit(plan, clock, blueprint) })
        });
        Sights { version: blueprint.version, outputs: outputs.collect(), secrets: Arc::clone(&blueprint.secrets) }
    }

    /// One of them.
    pub fn output(&self, name: &str) -> Option<&Sight> {
        self.outputs.get(name)
    }

    /// A text without the secrets of the configuration (L7): a template may hold one.
    pub fn masked(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret.expose(), HIDDEN))
    }
}

impl Sight {
    /// What its far side would get; `None`: there is no more to see than the message.
    pub fn preview(&self, parcel: &Parcel) -> Option<Result<Preview, String>> {
        self.config.preview(&self.kit, parcel)
    }
}
