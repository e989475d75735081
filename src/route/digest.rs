//! Several deliveries as one message: what people read of each stands on lines of its own, and all else is the first one's.
//!
//! Never: sends what is over the far side's limit. It is cut by whole items, and what is not shown is counted.

use super::jq::JqPool;
use super::plan::{Rendering, Router};
use super::render::{fields, results};
use crate::model::{Event, Kept, Message, NotRendered, Rendered, Seq, Target};
use std::collections::BTreeMap;
use std::sync::Arc;
use switchyard_api::message::Digest;

/// The field in which several deliveries stand; an output without it has no digests.
pub const DIGESTED: &str = "text";
/// The same in another form.
const HTML: &str = "html";
/// Forms of one delivery that cannot hold several: where they are set they would be shown instead of the text.
const OTHER_FORMS: [&str; 2] = ["blocks", "embeds"];

/// What goes along with a delivery.
#[derive(Debug, Clone, Copy)]
pub struct Along<'a> {
    /// The first of them.
    pub first: &'a [(Arc<Kept>, Arc<Target>)],
    /// How many there are.
    pub count: u64,
    /// The last one's event.
    pub through: Seq,
}

impl Router {
    /// How many deliveries one message of a target shows, where they go together.
    pub fn shown_together(&self, target: &Target) -> Option<usize> {
        self.renderings.get(target)?.digest.map(|digest| digest.max)
    }

    /// One message for a delivery and all that goes along with it; `None` where there is nothing to send.
    ///
    /// # Errors
    /// As [`render`](Self::render), where the delivery is alone. One of several that cannot be rendered says so in its place.
    pub async fn digest(&self, event: &Event, target: &Target, along: Along<'_>, jq: &JqPool) -> Result<Option<Message>, NotRendered> {
        let total = along.count.saturating_add(1);
        let mark = Some(Digest { count: total, through: along.through.0 });
        if along.count == 0
            && let [message] = &self.render(event, target, jq).await?[..]
        {
            return Ok(Some(Message { digest: mark, ..Message::clone(message) }));
        }
        let Some(rendering) = self.renderings.get(target) else { return Ok(None) };
        let mut made = self.items(event, rendering, jq).await?;
        for (kept, target) in along.first {
            let Some(rendering) = self.renderings.get(target) else { continue };
            let items = self.items(&kept.event, rendering, jq).await;
            made.extend(items.unwrap_or_else(|why| vec![failed(rendering, &kept.event, &why)]));
        }
        let Some(first) = made.first() else { return Ok(None) };
        let mut all = first.clone();
        all.retain(|name, _| !OTHER_FORMS.contains(&name.as_str()));
        // A transform may give several of one delivery: then there is more to show than deliveries.
        let hidden = usize::try_from(along.count).unwrap_or(usize::MAX).saturating_sub(along.first.len());
        for name in [DIGESTED, HTML] {
            if made.iter().any(|fields| fields.contains_key(name)) {
                let texts: Vec<String> = made.iter().map(|fields| text_of(rendering, fields, name)).collect();
                let list = rendering.fields.list(name, &texts, made.len().saturating_add(hidden));
                all.insert(name.to_owned(), Rendered::Text(list));
            }
        }
        let fitted = rendering.fields.fit(all, self.link_to(event).as_deref());
        let fitted = fitted.map_err(|error| NotRendered::Failed(error.to_string()))?;
        Ok(fitted.into_iter().next().map(|fields| Message { payload: None, fields, digest: mark }))
    }

    /// What one delivery has to show: the fields of each of its results.
    async fn items(&self, event: &Event, rendering: &Rendering, jq: &JqPool) -> Result<Vec<BTreeMap<String, Rendered>>, NotRendered> {
        let results = results(rendering, event, jq).await?;
        let each = results.iter().map(|result| {
            let mut fields = fields(rendering, event, result.as_deref())?;
            // Where nobody says what is to be read, it is what happened.
            if !fields.contains_key(DIGESTED) && !fields.contains_key(HTML) {
                fields.insert(
                    DIGESTED.to_owned(),
                    Rendered::Text(rendering.fields.escape(DIGESTED).apply(&format!("{} {}", event.topic, event.id))),
                );
            }
            Ok(fields)
        });
        each.collect()
    }
}

/// What stands in the place of one that cannot be rendered. What an error says holds nothing of the event.
fn failed(rendering: &Rendering, event: &Event, why: &NotRendered) -> BTreeMap<String, Rendered> {
    let told = rendering.fields.escape(DIGESTED).apply(&format!("{} cannot be shown: {why}", event.id));
    [(DIGESTED.to_owned(), Rendered::Text(told))].into()
}

/// A delivery's text in this form; where it has only the other, that, as text of this form.
fn text_of(rendering: &Rendering, fields: &BTreeMap<String, Rendered>, name: &str) -> String {
    let text = |name: &str| match fields.get(name) {
        Some(Rendered::Text(text)) => Some(text.clone()),
        _ => None,
    };
    text(name).or_else(|| Some(rendering.fields.escape(name).apply(&text(DIGESTED)?))).unwrap_or_else(|| "—".to_owned())
}
