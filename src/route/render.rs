//! After the answer: the messages of one target. `transform` first (each result is a delivery of its own), then the templates.

use super::jq::JqPool;
use super::plan::{Rendering, Router};
use super::template::Context;
use crate::model::{Event, Message, NotRendered, Target, envelope};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes of all messages of one target for one event; more fails its delivery.
pub const MESSAGES_MAX: usize = 16 << 20;

impl Router {
    /// The messages of a target, in the order of their ordinals; none where `transform` gave no result.
    ///
    /// # Errors
    /// The target is gone from the file, or its transform or a template failed for this event.
    pub async fn render(&self, event: &Event, target: &Target, jq: &JqPool) -> Result<Vec<Arc<Message>>, NotRendered> {
        let Some(rendering) = self.renderings.get(target) else {
            let known = self.routes.iter().any(|route| route.name == target.route);
            return Err(NotRendered::Gone(if known { &target.output } else { &target.route }.to_string()));
        };
        let Some(transform) = &rendering.transform else {
            let plain = rendering.fields.is_empty();
            return Ok(vec![if plain { Arc::clone(&self.plain) } else { Arc::new(message(rendering, event, None)?) }]);
        };
        let results = jq.run(transform, &envelope::envelope_text(event)).await;
        let results = results.map_err(|error| NotRendered::Failed(format!("transform: {error}")))?;
        let (mut messages, mut bytes) = (Vec::with_capacity(results.len()), 0);
        for result in results {
            let message = message(rendering, event, Some(result))?;
            bytes += message.size();
            if bytes > MESSAGES_MAX {
                return Err(NotRendered::Failed(format!("the messages are larger than {} MiB", MESSAGES_MAX >> 20)));
            }
            messages.push(Arc::new(message));
        }
        Ok(messages)
    }
}

fn message(rendering: &Rendering, event: &Event, result: Option<String>) -> Result<Message, NotRendered> {
    let fields = if rendering.fields.is_empty() {
        BTreeMap::new()
    } else {
        let rendered = rendering.fields.render(&Context::new(event, result.as_deref()));
        rendered.map_err(|(field, error)| NotRendered::Failed(format!("template of `{field}`, {error}")))?
    };
    Ok(Message { payload: result, fields })
}
