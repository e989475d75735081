//! `switchyard drill`: a delivery to outputs that is marked as a test, and whether it arrived.

use super::client::{Admin, Client};
use super::events::print_where_it_went;
use super::send::watch;
use super::{Exit, block_on, show};
use crate::model::Period;
use serde_json::{Value, json};

/// Sends a real delivery to each of these outputs, by every route that goes there, with `[TEST]` in front of what people read, and says whether
/// it arrived. It goes the way of every delivery: rates, hours, silences and pauses hold for it.
#[derive(Debug, clap::Args)]
pub struct Drill {
    /// The outputs.
    #[arg(required = true)]
    outputs: Vec<String>,
    /// Only by this route.
    #[arg(long)]
    route: Option<String>,
    /// Shows this event (`evt_…`) by the routes' own templates; without it a drill has words of its own.
    #[arg(long, value_name = "EVENT")]
    event: Option<String>,
    /// Who drills: it stands in the message.
    #[arg(long, env = "USER")]
    by: String,
    /// How long it is waited for.
    #[arg(long, default_value = "30s", value_parser = Period::parse)]
    within: Period,
    #[command(flatten)]
    admin: Admin,
}

impl Drill {
    pub fn run(self) -> anyhow::Result<Exit> {
        block_on(async {
            let client = Client::new(&self.admin)?;
            let asked = json!({ "outputs": self.outputs, "route": self.route, "event": self.event, "by": self.by });
            let begun = client.post("/api/drill", &asked).await?;
            let event = begun["event"].as_str().unwrap_or_default();
            let kept = watch(&client, event, self.within.0).await?;
            let rows = kept["deliveries"].as_array().map_or(&[][..], Vec::as_slice);
            if self.admin.json {
                show::line(&json!({ "event": event, "plan": kept["plan"], "deliveries": rows }));
            } else {
                show::say(&format!("the drill is event {}", show::cell(&begun["event"])));
                print_where_it_went(&kept);
            }
            Ok(if arrived(&kept["plan"], rows) { Exit::Done } else { Exit::No })
        })
    }
}

/// Whether each planned target has deliveries, and all of them arrived.
fn arrived(plan: &Value, rows: &[Value]) -> bool {
    let of = |target: &Value, row: &&Value| row["route"] == target["route"] && row["output"] == target["output"];
    let has = |target: &Value| rows.iter().any(|row| of(target, &row));
    plan.as_array().is_some_and(|plan| plan.iter().all(has)) && rows.iter().all(|row| row["state"] == "delivered")
}
