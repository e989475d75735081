//! Replays and purges in the model.

use super::{Durable, Place, Stored};
use crate::journal::replay::{JobState, KEPT_MAX, Render, ReplayJob, WAS_MISSING};
use crate::journal::store::{DeliveryFilter, Mark, Slice};
use crate::model::{BEHIND, DeliveryKey, DeliveryRow, ON_DEAD, Plan, Seq, State, Timestamp};
use std::sync::Arc;

impl Durable {
    pub(super) fn replay(&mut self, keys: &[DeliveryKey], render: Render, now: Timestamp) -> Slice {
        let places: Vec<Place> = self.rows.iter().filter(|(_, (row, _))| keys.contains(&row.key)).map(|(place, _)| *place).collect();
        let changed = places.into_iter().filter(|place| self.ask_again(*place, render, now)).count() as u64;
        Slice { changed, next: None }
    }

    fn ask_again(&mut self, place: Place, render: Render, now: Timestamp) -> bool {
        let parts = self.rows_of(place.0).any(|((_, target, ordinal), _)| *target == place.1 && *ordinal > 0);
        let behind = self.is_behind(place);
        let Some((row, _)) = self.rows.get_mut(&place).filter(|(row, _)| !behind && row.state != State::Waiting) else { return false };
        let message = row.message.take().filter(|_| render == Render::Then || parts);
        let (replays, detail) = (row.replays + 1, "asked for again".to_owned());
        let due_at = Some(now);
        *row = DeliveryRow { state: State::Waiting, due_at, attempts: 0, replays, detail, updated_at: now, message, ..row.clone() };
        if let Some((_, turn)) = self.line.get_mut(&place) {
            turn.get_or_insert(now);
        }
        true
    }

    /// Whether what stands at a place is in this state and meant.
    pub(super) fn means(&self, filter: &DeliveryFilter, state: State, place: Place) -> bool {
        let (Some((row, _)), Some(Stored { event, .. })) = (self.rows.get(&place), self.events.get(&place.0)) else { return false };
        row.state == state
            && filter.holds_row(row.key.seq, &row.key.target, row.state, row.updated_at)
            && filter.holds_event(&event.source, &event.topic, event.received_at)
    }

    /// The newest first, so that nothing has its turn that is to be ended next.
    pub(super) fn purge(&mut self, filter: &DeliveryFilter, why: &str, now: Timestamp) -> Slice {
        let mut changed = 0;
        for state in &filter.states {
            let places: Vec<Place> = self.rows.keys().copied().filter(|place| self.means(filter, *state, *place)).collect();
            for place in places.iter().rev() {
                if let Some((row, _)) = self.rows.get_mut(place) {
                    (row.state, row.due_at, row.detail, row.updated_at) = (State::Dead, None, why.to_owned(), now);
                }
                self.free(*place, now);
            }
            changed += places.len() as u64;
        }
        Slice { changed, next: None }
    }

    pub(super) fn plan_replays(&mut self, jobs: &[ReplayJob]) -> Slice {
        if jobs.iter().any(|job| self.replays.contains_key(&job.id)) {
            return Slice { changed: 0, next: None };
        }
        self.replays.extend(jobs.iter().map(|job| (job.id, job.clone())));
        let last = jobs.iter().map(|job| job.id).max().unwrap_or_default();
        self.replays.retain(|id, job| *id > last.saturating_sub(KEPT_MAX) || !job.state.is_over());
        Slice { changed: jobs.len() as u64, next: None }
    }

    pub(super) fn feed_replay(&mut self, id: u64, most: u64, now: Timestamp) -> Slice {
        let mut changed = 0;
        let Some(mut job) = self.replays.get(&id).filter(|job| job.state == JobState::Running && !job.missing).cloned() else {
            return Slice { changed, next: None };
        };
        let room = most.saturating_sub(self.asked_again(&job.output));
        if room == 0 {
            return Slice { changed, next: None };
        }
        'full: while let Some(state) = job.looks_at() {
            let from: Place = (job.at.1, job.at.2, u32::try_from(job.at.3).unwrap_or(u32::MAX));
            for place in self.rows.keys().copied().filter(|place| *place > from).collect::<Vec<_>>() {
                changed += u64::from(self.means(&job.filter, state, place) && self.ask_again(place, job.render, now));
                if changed == room {
                    job.at = Mark(job.at.0, place.0, place.1, i64::from(place.2));
                    break 'full;
                }
            }
            job.at = job.after(None);
        }
        job.state = if job.looks_at().is_none() { JobState::Finished } else { JobState::Running };
        (job.done, job.updated_at) = (job.done + changed, now);
        self.replays.insert(id, job);
        Slice { changed, next: None }
    }

    pub(super) fn asked_again(&self, output: &str) -> u64 {
        let again = |(row, _): &&(DeliveryRow, bool)| row.state == State::Waiting && row.replays > 0 && &*row.key.target.output == output;
        self.rows.values().filter(again).count() as u64
    }

    pub(super) fn feed_missing(&mut self, id: u64, found: &[(Seq, Plan)], at: Option<Seq>, now: Timestamp) -> Slice {
        let Some(mut job) = self.replays.get(&id).filter(|job| job.state == JobState::Running && job.missing).cloned() else {
            return Slice { changed: 0, next: None };
        };
        let mut changed = 0;
        for (seq, plan) in found {
            changed += self.add(*seq, plan, (WAS_MISSING, 1), now);
        }
        match at {
            Some(at) => job.at.1 = at.0,
            None => job.state = JobState::Finished,
        }
        (job.done, job.updated_at) = (job.done + changed, now);
        self.replays.insert(id, job);
        Slice { changed, next: None }
    }

    pub(super) fn pass_on(&mut self, found: &[(DeliveryKey, Plan)], now: Timestamp) -> Slice {
        let mut changed = 0;
        for (key, plan) in found {
            let place = (key.seq.0, self.number(&key.target), key.ordinal);
            if let Some(given) = self.on_dead.get_mut(&place).filter(|given| !**given) {
                *given = true;
                changed += self.add(key.seq, plan, (&format!("{ON_DEAD}{}", key.target), 0), now);
            }
        }
        Slice { changed, next: None }
    }

    fn add(&mut self, seq: Seq, more: &Plan, (why, replays): (&str, u32), now: Timestamp) -> u64 {
        let Some(stored) = self.events.get_mut(&seq.0) else { return 0 };
        let before = stored.plan.targets.len();
        let plan = stored.plan.clone().and(more);
        stored.plan = Plan { collected: vec![], ..plan.clone() };
        let mut born: Vec<_> = plan.targets.iter().enumerate().skip(before).collect();
        born.sort_unstable_by_key(|(_, target)| self.number(target));
        for (place, target) in &born {
            let row = DeliveryRow {
                key: DeliveryKey { seq, target: Arc::clone(target), ordinal: 0 },
                state: State::Waiting,
                due_at: Some(now),
                attempts: 0,
                replays,
                detail: why.into(),
                message: None,
                updated_at: now,
            };
            let key = (seq.0, self.number(target), 0);
            self.rows.insert(key, (row, true));
            let order = plan.ordered.iter().find_map(|(ordered, order)| (ordered == place).then_some(*order));
            let collected = plan.collected.iter().any(|(collected, _)| collected == place);
            let turn = |other: &Place| *other > key && self.line.get(other).is_some_and(|(_, turn)| turn.is_some());
            if let Some(order) = order.filter(|order| !collected && !self.in_line(key, *order).any(|other| turn(&other))) {
                self.line_up(key, order, now, BEHIND);
            }
        }
        born.len() as u64
    }

    pub(super) fn turn_replay(&mut self, id: u64, to: JobState, now: Timestamp) -> Slice {
        let job = self.replays.get_mut(&id).filter(|job| job.state.may_become(to));
        let changed = u64::from(job.is_some());
        if let Some(job) = job {
            (job.state, job.updated_at) = (to, now);
        }
        Slice { changed, next: None }
    }
}
