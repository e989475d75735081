//! Many runs at once, one to a core. Each run is alone on its thread and knows nothing of the others, so that its trace is what it would be
//! by itself; what the runs came to is summed up.

use crate::Report;
use crate::coverage::Coverage;
use crate::scenario::Scenario;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// A run that broke a law.
pub struct Broken {
    /// Which, for people.
    pub what: String,
    /// What it was given.
    pub scenario: Scenario,
    /// What it came to.
    pub report: Report,
}

/// What runs came to.
#[derive(Default)]
pub struct Sum {
    /// How many there were.
    pub runs: u64,
    /// Calls over seams of all of them.
    pub calls: u64,
    /// What trouble met.
    pub coverage: Coverage,
    /// Those that broke a law, by their seed.
    pub broken: BTreeMap<u64, Broken>,
    /// Seeds that gave another trace when they were run again.
    pub changing: Vec<u64>,
}

impl Sum {
    /// A run broke a law; said at once.
    pub fn broke(&mut self, what: String, seed: u64, scenario: Scenario, report: Report) {
        println!("{what}: {}", report.broken.as_deref().unwrap_or_default());
        self.broken.insert(seed, Broken { what, scenario, report });
    }

    fn add(&mut self, other: Sum) {
        self.runs += other.runs;
        self.calls += other.calls;
        self.coverage.add(&other.coverage);
        self.broken.extend(other.broken);
        self.changing.extend(other.changing);
    }
}

/// Does the work of each seed, in rising order, on all cores; begins no more once `most` are broken. So the lowest broken seed is always
/// among those that were found.
pub fn each(seeds: Range<u64>, most: usize, work: impl Fn(u64, &mut Sum) + Sync) -> Sum {
    let (next, broken, all) = (AtomicU64::new(seeds.start), AtomicUsize::new(0), Mutex::new(Sum::default()));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                let mut sum = Sum::default();
                while broken.load(Ordering::Relaxed) < most {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    let before = sum.broken.len();
                    work(seed, &mut sum);
                    broken.fetch_add(sum.broken.len() - before, Ordering::Relaxed);
                }
                all.lock().unwrap_or_else(PoisonError::into_inner).add(sum);
            });
        }
    });
    all.into_inner().unwrap_or_else(PoisonError::into_inner)
}
