//! What people ask to see arrive.

use super::api::{Answered, Api};
use super::query::{Wrong, event_id};
use crate::daemon::drill::{Asked, CannotDrill};
use crate::journal::backlog::DAMAGED;
use serde_json::{Value, json};

impl From<CannotDrill> for Wrong {
    fn from(why: CannotDrill) -> Self {
        let status = match why {
            CannotDrill::NoOutput { .. } => 404,
            CannotDrill::NoRoute { .. } | CannotDrill::NotRead(_) => 409,
            CannotDrill::Wrong(_) => 400,
            CannotDrill::NotKept => 503,
        };
        Wrong(status, why.to_string())
    }
}

impl Api {
    /// Begins a drill; `event` names one that is shown.
    pub(super) async fn drill(&self, body: &[u8]) -> Answered {
        let mut asked: Value = serde_json::from_slice(body).map_err(|why| Wrong(400, format!("the body is not JSON: {why}")))?;
        let shown = asked.as_object_mut().and_then(|asked| asked.remove("event")).filter(|event| !event.is_null());
        let asked: Asked = serde_json::from_value(asked).map_err(|why| Wrong(400, format!("the body is not a drill: {why}")))?;
        let shown = match shown {
            Some(id) => {
                let found = self.find(event_id(id.as_str().unwrap_or_default())?).await?;
                Some(found).filter(|found| !found.damaged).map(|found| found.kept).ok_or_else(|| Wrong(409, DAMAGED.into())).map(Some)?
            }
            None => None,
        };
        Ok(json!({ "event": self.daemon.drill(&asked, shown.as_deref()).await?.to_string() }))
    }
}
