//! The free space on the journal's disk, and what follows from it.
//!
//! A ladder of three rungs: enough; low (people are told, what was delivered is deleted before its time, replays wait); below the
//! reserve (senders hear 503, deliveries and their rows go on). It is climbed back by itself when there is space again.

use super::start::Daemon;
use std::path::Path;
use std::sync::atomic::Ordering;

/// The reserve where the file says none, and
const RESERVE: u64 = 1 << 30;
/// on a small disk this part of it.
const RESERVE_PART: u64 = 20;
/// Space is low below so many times the reserve.
const LOW: u64 = 2;
/// A rung is left upwards once this part of its bound is free above it, so that nothing flickers,
const SLACK_PART: u64 = 16;
/// or so many bytes.
const SLACK_MOST: u64 = 16 << 20;

/// A disk's space, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Free to us.
    pub free: u64,
    /// In all.
    pub total: u64,
}

/// Where the free space stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rung {
    /// All is well.
    #[default]
    Enough,
    /// People are told, space is made, replays wait.
    Low,
    /// Senders hear 503.
    Reserved,
}

impl Space {
    /// That of the disk with this folder.
    pub fn of(folder: &Path) -> std::io::Result<Self> {
        let found = rustix::fs::statvfs(folder)?;
        Ok(Space { free: found.f_bavail.saturating_mul(found.f_frsize), total: found.f_blocks.saturating_mul(found.f_frsize) })
    }

    /// The reserve on this disk.
    pub fn reserve(self, said: Option<u64>) -> u64 {
        said.unwrap_or_else(|| RESERVE.min(self.total / RESERVE_PART))
    }

    /// The rung it is on, coming from another.
    pub fn rung(self, before: Rung, reserve: u64) -> Rung {
        let low = reserve.saturating_mul(LOW);
        let left = |bound: u64| self.free >= bound.saturating_add((bound / SLACK_PART).min(SLACK_MOST));
        if self.free < reserve || before == Rung::Reserved && !left(reserve) {
            Rung::Reserved
        } else if self.free < low || before != Rung::Enough && !left(low) {
            Rung::Low
        } else {
            Rung::Enough
        }
    }
}

impl Daemon {
    /// Does what a rung asks for.
    pub(super) fn stand_on(&self, rung: Rung) {
        self.hub.reserved.store(rung == Rung::Reserved, Ordering::Relaxed);
        self.hub.journal.press(rung != Rung::Enough);
    }

    /// Whether replays wait, because they would take what space there is.
    pub fn is_short_of_space(&self) -> bool {
        self.seen.load().rung != Rung::Enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ladder_is_climbed_down_at_once_and_up_with_some_room() {
        let mut rung = Rung::Enough;
        let mut steps = vec![];
        for free in [900, 199, 150, 99, 100, 105, 106, 99, 150, 205, 211, 212, 211, 199, 0, 1_000] {
            rung = Space { free, total: 10_000 }.rung(rung, 100);
            steps.push(match rung {
                Rung::Enough => 'e',
                Rung::Low => 'l',
                Rung::Reserved => 'r',
            });
        }
        assert_eq!(steps.into_iter().collect::<String>(), "ellrrrlrllleelre");
        assert_eq!(Space { free: 0, total: 1_000 }.rung(Rung::Reserved, 0), Rung::Enough, "no reserve, no ladder");
    }

    #[test]
    fn a_small_disk_has_a_small_reserve() {
        let disk = |gib: u64| Space { free: 0, total: gib << 30 };
        assert_eq!((disk(100).reserve(None), disk(10).reserve(None), disk(10).reserve(Some(7))), (1 << 30, 1 << 29, 7));
    }

    #[test]
    fn the_disk_of_a_folder_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let space = Space::of(folder.path()).unwrap();
        assert!(space.total >= space.free && space.total > 0, "{space:?}");
        assert!(Space::of(&folder.path().join("none")).is_err());
    }
}
