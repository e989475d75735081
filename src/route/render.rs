//! After the answer: the messages of one target. `transform` first (each result is a delivery of its own), then the
//! templates, then the far side's limits (each part of a split text is a delivery of its own).

use super::jq::JqPool;
use super::plan::{Rendering, Router};
use super::template::Context;
use crate::model::{Drill, Event, Message, NotRendered, Rendered, Target, envelope};
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
        if let Some(drill) = Drill::of(event) {
            return self.drilled(drill, event, rendering, jq).await;
        }
        let link = self.link_to(event);
        let made = |result| messages(rendering, event, result, link.as_deref());
        if rendering.transform.is_none() {
            return if rendering.fields.is_empty() { Ok(vec![Arc::clone(&self.plain)]) } else { Ok(shared(made(None)?)) };
        }
        let results = results(rendering, event, jq).await?;
        let (mut all, mut bytes) = (Vec::with_capacity(results.len()), 0);
        for result in results {
            let several = made(result)?;
            bytes += several.iter().map(Message::size).sum::<usize>();
            if bytes > MESSAGES_MAX {
                return Err(NotRendered::Failed(format!("the messages are larger than {} MiB", MESSAGES_MAX >> 20)));
            }
            all.extend(shared(several));
        }
        Ok(all)
    }

    /// Where people can look at an event.
    pub(super) fn link_to(&self, event: &Event) -> Option<String> {
        self.link.as_deref().map(|base| format!("{base}/api/events/{}", event.id))
    }
}

/// What the target's transform gives; without one there is one result, the event itself.
pub(super) async fn results(rendering: &Rendering, event: &Event, jq: &JqPool) -> Result<Vec<Option<String>>, NotRendered> {
    let Some(transform) = &rendering.transform else { return Ok(vec![None]) };
    let results = jq.run(transform, &envelope::envelope_text(event)).await;
    let results = results.map_err(|error| NotRendered::Failed(format!("transform: {error}")))?;
    Ok(results.into_iter().map(Some).collect())
}

fn shared(messages: Vec<Message>) -> Vec<Arc<Message>> {
    messages.into_iter().map(Arc::new).collect()
}

/// One result as a message, or as several where a field of it is split.
fn messages(rendering: &Rendering, event: &Event, result: Option<String>, link: Option<&str>) -> Result<Vec<Message>, NotRendered> {
    if rendering.fields.is_empty() {
        return Ok(vec![Message { payload: result, ..Message::default() }]);
    }
    let rendered = fields(rendering, event, result.as_deref())?;
    let fitted = rendering.fields.fit(rendered, link).map_err(|error| NotRendered::Failed(error.to_string()))?;
    Ok(fitted.into_iter().map(|fields| Message { payload: result.clone(), fields, ..Message::default() }).collect())
}

/// The fields of one result, whatever the far side takes.
pub(super) fn fields(rendering: &Rendering, event: &Event, result: Option<&str>) -> Result<BTreeMap<String, Rendered>, NotRendered> {
    rendered(rendering, event, &Context::new(event, result))
}

/// The fields in a context.
pub(super) fn rendered(rendering: &Rendering, event: &Event, context: &Context) -> Result<BTreeMap<String, Rendered>, NotRendered> {
    rendering.fields.render(context).map_err(|(field, error)| {
        // Where there is no `data` at all, what is missing in it is not the point.
        let no_data = envelope::data(event).err().map(|why| format!("; {why}")).unwrap_or_default();
        NotRendered::Failed(format!("template of `{field}`, {error}{no_data}"))
    })
}
