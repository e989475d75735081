//! The laws, held against everything that comes by a seam, at the moment it comes by. I1 to I20 are those of decision 10, which also
//! says which of them are held elsewhere.

mod heard;
mod journal;
mod sends;

use crate::scenario::Turn;
use crate::senders::PATIENCE;
use crate::world::{State, World};
use std::time::Duration;

const SECOND: u64 = 1_000_000_000;
/// Timers and what is written down are cut to milliseconds.
const CUT: u64 = 2_000_000;
/// What a repeat is recognised within.
const DEDUPE: Duration = Duration::from_mins(4);
/// What stands in the row of a delivery that somebody ended.
pub const PURGED: &str = "purged: as the scenario has it";
/// Most parts of a split text.
const PARTS: u32 = 20;
/// Parts beyond the window: those of the last event that came into it.
const ROOM_FOR_PARTS: usize = 2 * PARTS as usize;
/// In peace, an output that is well gets an event so soon.
const SOON: u64 = 3 * SECOND;

impl World {
    /// Holds laws; ends the run if one is broken.
    pub fn judge(&self, laws: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        if state.dead {
            return;
        }
        laws(&mut state);
        let broken = state.broken.is_some();
        drop(state);
        if broken {
            self.died.notify_one();
        }
    }
}

impl State {
    /// I16: a proven sender hears something while it waits.
    pub fn unanswered(&mut self, id: u32) {
        self.broke("I16", &format!("the sender of event {id} heard nothing in {PATIENCE} ms"));
    }

    /// I13: no more deliveries of an output in memory than its window has room for.
    pub fn holds(&mut self, output: &str, in_memory: usize) {
        let room = self.scenario.window + if self.splits(output) { ROOM_FOR_PARTS } else { 0 };
        if in_memory > room {
            self.broke("I13", &format!("{output} has {in_memory} deliveries in memory, and its window is {}", self.scenario.window));
        }
    }

    /// Whether an event may become several deliveries there.
    fn splits(&self, output: &str) -> bool {
        let far = |far: u8| *output == *format!("o{far}");
        let twice = |route: &crate::scenario::Route| route.turn == Some(Turn::Twice) && route.to.iter().any(|to| far(*to));
        let files = || self.scenario.files.iter();
        files().flat_map(|file| &file.outputs).any(|output| far(output.far) && output.splits)
            || files().flat_map(|file| &file.routes).any(twice)
    }

    /// I1: a 200 means kept. I16: nothing else is said of a proven event but 503 with Retry-After.
    pub fn answered(&mut self, id: u32, status: u16, retry_after: bool) {
        match status {
            200 => {
                let ids = self.senders.get(&id).map(|sender| sender.ids(id)).unwrap_or_default();
                let is_kept = |id: &u32| {
                    let name = id.to_string();
                    self.facts.values().any(|fact| fact.event.sender_id.as_deref() == Some(&*name))
                };
                if !ids.iter().all(is_kept) {
                    return self.broke("I1", &format!("the sender's event {id} was answered 200 and is not kept"));
                }
                if let Some(sender) = self.senders.get_mut(&id) {
                    sender.acked = true;
                }
            }
            503 if retry_after => {}
            other => self.broke("I16", &format!("the sender's event {id} was answered {other}, Retry-After: {retry_after}")),
        }
    }
}
