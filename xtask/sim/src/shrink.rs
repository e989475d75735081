//! From a scenario that breaks a law to a small one that breaks the same: drops what is not needed, then makes numbers smaller. Each
//! try is a run; the same scenario always gives the same small one.

use crate::run;
use crate::scenario::{Mood, Scenario, What};

/// Most runs of one shrinking.
const TRIES: u32 = 3_000;

/// The law of a broken one: what stands before the colon.
pub fn law(broken: &str) -> &str {
    broken.split(':').next().unwrap_or_default()
}

/// A smaller scenario that breaks the same law.
pub fn shrink(scenario: &Scenario) -> Scenario {
    let Some(broken) = run(scenario).broken else { return scenario.clone() };
    let mut shrinking = Shrinking { best: scenario.clone(), law: law(&broken).to_owned(), tries: 0 };
    loop {
        let before = shrinking.best.clone();
        shrinking.fewer(|scenario| &mut scenario.ops);
        shrinking.fewer(|scenario| &mut scenario.crashes);
        shrinking.without_files();
        shrinking.simpler_files();
        shrinking.smaller_numbers();
        if shrinking.best == before || shrinking.tries >= TRIES {
            return shrinking.best;
        }
    }
}

struct Shrinking {
    best: Scenario,
    law: String,
    tries: u32,
}

impl Shrinking {
    /// Keeps the change if the law is still broken.
    fn attempt(&mut self, change: impl FnOnce(&mut Scenario)) -> bool {
        let mut smaller = self.best.clone();
        change(&mut smaller);
        if smaller == self.best || self.tries >= TRIES {
            return false;
        }
        self.tries += 1;
        let fails = run(&smaller).broken.is_some_and(|broken| law(&broken) == self.law);
        if fails {
            self.best = smaller;
        }
        fails
    }

    /// Drops runs of entries, long ones first.
    fn fewer<T>(&mut self, list: impl Fn(&mut Scenario) -> &mut Vec<T>) {
        let mut size = list(&mut self.best).len().div_ceil(2);
        while size > 0 {
            let mut from = 0;
            while from < list(&mut self.best).len() {
                let dropped = self.attempt(|scenario| {
                    let list = list(scenario);
                    let to = (from + size).min(list.len());
                    list.drain(from..to);
                });
                if !dropped {
                    from += size;
                }
            }
            size /= 2;
        }
    }

    /// Without the later configurations; their reloads go too.
    fn without_files(&mut self) {
        self.attempt(|scenario| {
            scenario.files.truncate(1);
            scenario.ops.retain(|op| !matches!(op.what, What::Reload(file) | What::BadReload(file) if file > 0));
        });
        self.attempt(|scenario| scenario.past_retention = false);
        self.attempt(|scenario| scenario.window = 64);
    }

    fn simpler_files(&mut self) {
        for far in (0..self.best.files[0].outputs.len()).rev() {
            self.attempt(|scenario| {
                let far = scenario.files[0].outputs[far].far;
                for file in &mut scenario.files {
                    file.outputs.retain(|output| output.far != far);
                    file.routes.iter_mut().for_each(|route| route.to.retain(|to| *to != far));
                    file.routes.retain(|route| !route.to.is_empty());
                }
            });
        }
        for file in 0..self.best.files.len() {
            for route in (0..self.best.files[file].routes.len()).rev() {
                self.attempt(|scenario| drop(scenario.files[file].routes.remove(route)));
            }
        }
        let simpler: [fn(&mut crate::scenario::Output); 6] = [
            |output| output.rate = None,
            |output| output.batch = 1,
            |output| output.concurrency = 1,
            |output| output.splits = false,
            |output| output.hold_unknown = false,
            |output| output.order = crate::scenario::Order::Free,
        ];
        for simpler in simpler {
            for far in 0..8_u8 {
                self.attempt(|scenario| {
                    scenario.files.iter_mut().flat_map(|file| &mut file.outputs).filter(|output| output.far == far).for_each(simpler);
                });
            }
        }
    }

    fn smaller_numbers(&mut self) {
        for at in 0..self.best.ops.len() {
            while self.attempt(|scenario| scenario.ops[at].after /= 2) {}
            self.attempt(|scenario| match &mut scenario.ops[at].what {
                What::Post { topic, key, words, patience, .. } => (*topic, *key, *words, *patience) = (0, 0, 0, 5_000),
                What::Far { mood: Mood::Busy { share, after }, .. } => (*share, *after) = (100, None),
                What::Crash(down) | What::Stop(down) => *down = 10,
                _ => {}
            });
        }
        for at in 0..self.best.crashes.len() {
            while self.attempt(|scenario| scenario.crashes[at].call /= 2) {}
        }
    }
}
