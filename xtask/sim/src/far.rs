//! Far sides: outputs of the kinds `far` and `splitting` that behave as the scenario has it. What an attempt meets is a function of the
//! seed, the delivery and how often it was sent, so that no order of other things changes it.

use crate::chance::{hash, mix};
use crate::scenario::Mood;
use crate::world::{Call, Entered, SimClock, World};
use futures_util::future::{BoxFuture, pending};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use switchyard_api::escape::Escape;
use switchyard_api::fit::{Cap, Over, Unit};
use switchyard_api::{
    AnyKind, CheckError, Confine, ConnectError, Field, Handle, Kind, Kit, Outcome, Output, Parcel, Problem, Settle, Shape,
};

/// Characters of a text of the kind `splitting`; a longer one is several deliveries.
const SPLIT_AT: usize = 60;

/// Settings of a far side.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    /// Another number, another connection.
    #[serde(rename = "settings")]
    _settings: u32,
    /// Parcels a call.
    batch: u32,
}

/// The kinds of one life.
pub fn kinds(world: &Arc<World>, clock: &Arc<SimClock>) -> Vec<Arc<dyn AnyKind>> {
    [false, true]
        .map(|splits| switchyard_api::kind::any(FarKind { world: Arc::clone(world), clock: Arc::clone(clock), splits }))
        .into_iter()
        .collect()
}

struct FarKind {
    world: Arc<World>,
    clock: Arc<SimClock>,
    splits: bool,
}

impl Kind for FarKind {
    type Config = Config;
    type Output = FarOutput;

    fn name(&self) -> &str {
        if self.splits { "splitting" } else { "far" }
    }
    fn docs(&self) -> &'static str {
        "A far side of the simulation."
    }

    fn example(&self) -> &'static str {
        "{ type: far }"
    }
    fn fields(&self) -> Vec<Field> {
        let over = if self.splits { Over::Split } else { Over::Cut };
        vec![Field {
            name: "text".into(),
            docs: "What is sent.".into(),
            shape: Shape::Text,
            escape: Escape::None,
            confine: Confine::Content,
            required: true,
            default: None,
            cap: Some(Cap { most: SPLIT_AT, unit: Unit::Chars, over }),
        }]
    }
    fn validate(&self, _: &Config) -> Vec<Problem> {
        vec![]
    }
    async fn connect(&self, config: Config, kit: &Kit) -> Result<FarOutput, ConnectError> {
        if let Entered::Dead = self.world.enter(Call::Connect, self.clock.nanos(), hash(&kit.output)) {
            return pending().await;
        }
        if std::mem::take(&mut self.world.lock().connect_fails) {
            return Err(ConnectError("as the scenario has it".to_owned()));
        }
        let far = kit.output.trim_start_matches('o').parse().unwrap_or(0);
        if let Some(side) = self.world.lock().fars.get_mut(far) {
            side.connection += 1;
            side.hurried |= side.down.is_some();
        }
        Ok(FarOutput {
            far,
            name: Arc::clone(&kit.output),
            batch: config.batch as usize,
            world: Arc::clone(&self.world),
            clock: Arc::clone(&self.clock),
        })
    }
}

/// A connected far side.
pub struct FarOutput {
    far: usize,
    name: Arc<str>,
    batch: usize,
    world: Arc<World>,
    clock: Arc<SimClock>,
}

/// What an attempt meets.
#[derive(Debug, Clone)]
struct Fate {
    handle: Handle,
    delivery: String,
    /// Whether the far side has it from the start.
    sent: bool,
    /// When and how it ends; `None`: not within the call's time.
    ends: Option<(u64, End)>,
}

#[derive(Debug, Clone)]
enum End {
    Says(Outcome),
    Mute,
    Panics,
}

/// A call that is out; it is over when this is dropped.
struct Out<'o> {
    output: &'o FarOutput,
    life: u32,
    probe: bool,
    deliveries: Vec<String>,
}

impl Drop for Out<'_> {
    fn drop(&mut self) {
        let mut state = self.output.world.lock();
        if state.life == self.life {
            state.call_ended(self.output.far, self.probe, &self.deliveries);
        }
    }
}

impl FarOutput {
    async fn go(&self, parcels: Vec<Parcel>, settle: &Settle) {
        let now = self.clock.nanos();
        let Entered::Goes { dies_after } = self.world.enter(Call::Deliver, now, hash(&parcels[0].delivery)) else { return pending().await };
        let wall = switchyard::model::Clock::wall(&*self.clock);
        self.world.judge(|state| state.call_begins(self.far, &self.name, &parcels, now, wall));
        let _out = self.out(&parcels);
        if dies_after {
            self.world.die();
            return pending().await;
        }
        let mut fates: Vec<Fate> = parcels.iter().map(|parcel| self.fate(parcel)).collect();
        for fate in fates.iter().filter(|fate| fate.sent) {
            let Entered::Goes { dies_after } = self.world.enter(Call::Sent, now, hash(&fate.delivery)) else { return pending().await };
            settle.sent(fate.handle);
            if dies_after {
                self.world.die();
                return pending().await;
            }
        }
        fates.sort_by_key(|fate| fate.ends.as_ref().map_or(u64::MAX, |(after, _)| *after));
        for fate in fates {
            self.end(fate, now, settle).await;
        }
    }

    fn out(&self, parcels: &[Parcel]) -> Out<'_> {
        let state = self.world.lock();
        let deliveries: Vec<String> = parcels.iter().map(|parcel| parcel.delivery.clone()).collect();
        let probe = deliveries.iter().any(|delivery| state.tracks.get(delivery).is_some_and(|track| track.probe));
        Out { output: self, life: state.life, probe, deliveries }
    }

    /// Waits for the end of one parcel and says it.
    async fn end(&self, fate: Fate, began: u64, settle: &Settle) {
        let Some((after, end)) = fate.ends else { return pending().await };
        let ends = began + after * 1_000_000;
        tokio::time::sleep(Duration::from_nanos(ends.saturating_sub(self.clock.nanos()))).await;
        let now = self.clock.nanos();
        let Entered::Goes { dies_after } = self.world.enter(Call::Outcome, now, hash(&fate.delivery)) else { return pending().await };
        match end {
            End::Says(outcome) => {
                self.world.judge(|state| state.heard(self.far, &fate.delivery, &outcome, now));
                settle.settle(fate.handle, outcome);
            }
            End::Mute => {}
            End::Panics => std::panic::panic_any(crate::Deliberate),
        }
        if dies_after {
            self.world.die();
            pending::<()>().await;
        }
    }

    fn fate(&self, parcel: &Parcel) -> Fate {
        let state = self.world.lock();
        let far = &state.fars[self.far];
        let draw = mix(state.scenario.seed ^ hash(&parcel.delivery) ^ mix(far.sends.len() as u64));
        let stable = mix(state.scenario.seed ^ hash(&parcel.delivery)) % 100;
        let chance = draw % 100;
        let (ms, why) = (1 + draw / 100 % 40, || "as the scenario has it".to_owned());
        let well = |ms: u64| (true, Some((ms, End::Says(Outcome::Delivered { detail: "taken".to_owned() }))));
        let says = |sent: bool, outcome: Outcome| (sent, Some((ms, End::Says(outcome))));
        let hit = |share: u8| chance < u64::from(share);
        let (sent, ends) = match far.mood {
            Mood::Well(most) => well(1 + draw / 100 % u64::from(most.max(1))),
            Mood::Busy { share, after } if hit(share) => {
                let after = after.map(|after| Duration::from_millis(u64::from(after)));
                says(true, Outcome::Retry { why: why(), after })
            }
            Mood::Late { share, takes, after } if hit(share) => {
                let outcome = Outcome::Retry { why: why(), after: Some(Duration::from_millis(u64::from(after))) };
                (true, Some((u64::from(takes), End::Says(outcome))))
            }
            Mood::Down => says(false, Outcome::Down { why: why(), after: None }),
            Mood::Misconfigured => says(true, Outcome::Misconfigured { why: why(), after: None }),
            Mood::Rejects(share) if stable < u64::from(share) => says(true, Outcome::Rejected { why: why() }),
            Mood::Silent(share) if hit(share) => (true, None),
            Mood::Lost(share) if hit(share) => says(true, Outcome::Unknown { why: why() }),
            Mood::Hangs(share) if hit(share) => (false, None),
            Mood::Mute { share, sent } if hit(share) => (sent, Some((ms, End::Mute))),
            Mood::Panics(share) if hit(share) => (chance.is_multiple_of(2), Some((ms, End::Panics))),
            _ => well(ms),
        };
        Fate { handle: parcel.handle, delivery: parcel.delivery.clone(), sent, ends }
    }
}

impl Output for FarOutput {
    fn max_batch(&self) -> usize {
        self.batch
    }
    fn deliver<'a>(&'a self, parcels: Vec<Parcel>, settle: &'a Settle) -> BoxFuture<'a, ()> {
        Box::pin(self.go(parcels, settle))
    }
    fn check(&self) -> BoxFuture<'_, Result<(), CheckError>> {
        Box::pin(async { Ok(()) })
    }
}
