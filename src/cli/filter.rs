//! Which deliveries, for commands that change many.

use super::time;
use crate::model::Timestamp;
use serde_json::{Value, json};

/// What is not said does not restrict.
#[derive(Debug, clap::Args)]
pub struct Filter {
    /// Only by this route.
    #[arg(long)]
    route: Option<String>,
    /// Only of events from this source.
    #[arg(long)]
    source: Option<String>,
    /// Only of events of this topic; `ORDER_*`: of all that start so.
    #[arg(long)]
    topic: Option<String>,
    /// Only of events received since then: `1h` ago, or a date.
    #[arg(long, value_parser = time::parse)]
    since: Option<Timestamp>,
    /// Only of events received until then.
    #[arg(long, value_parser = time::parse)]
    until: Option<Timestamp>,
}

impl Filter {
    /// Whether it restricts anything.
    pub fn is_narrow(&self) -> bool {
        [&self.route, &self.source, &self.topic].into_iter().any(Option::is_some) || self.since.is_some() || self.until.is_some()
    }

    /// As the admin side reads it.
    pub fn body(&self) -> Value {
        json!({
            "route": self.route, "source": self.source, "topic": self.topic, "since": self.since.map(|at| at.0), "until": self.until.map(|at| at.0),
        })
    }
}
