//! Which configurations ran: what is accepted is kept in the journal under its version, by which plans know it (decision 20).

use super::hub::Hub;
use crate::journal::Operation;
use crate::model::ConfigVersion;
use std::sync::Arc;

impl Hub {
    /// Keeps the text of a configuration that runs from now on. Where that fails it runs all the same: to take events in is worth more.
    pub(super) async fn keep_config(&self, version: ConfigVersion, text: &Arc<str>) {
        if let Err(why) = self.operate(Operation::KeepConfig { version, text: Arc::clone(text) }).await {
            tracing::warn!(%version, %why, "the text of this configuration is not kept: `switchyard config show` will not have it");
        }
    }
}
