//! Replays: written down, fed to the line a slice at a time with their place in the same commit, paused, ended, read.

use super::read::{Scan, place_of, scan};
use super::upkeep::OPERATE_ROWS;
use super::{Names, SqliteStore};
use crate::journal::replay::{FEED_SLICES, JobState, KEPT_MAX, Render, ReplayJob};
use crate::journal::store::{DeliveryFilter, Mark, Slice, TopicMatch};
use crate::model::{Seq, State, Timestamp};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};

/// Of the table.
pub const COLUMNS: &str =
    "id, output, states, route, source, topic, since, until, through, planned_at, render, total, done, state, updated_at,
    at_state, at_event, at_target, at_ordinal";

/// In the place of states: a replay of what is missing.
const MISSING: &str = "missing";

impl SqliteStore {
    /// Within the operation's transaction.
    pub(super) fn plan_replays(&mut self, jobs: &[ReplayJob]) -> rusqlite::Result<Slice> {
        let mut taken = self.db.prepare_cached("SELECT 1 FROM replays WHERE id = ?")?;
        for job in jobs {
            if taken.exists([job.id as i64])? {
                return Ok(Slice { changed: 0, next: None });
            }
        }
        let mut insert = self
            .db
            .prepare_cached(&format!("INSERT INTO replays({COLUMNS}) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"))?;
        for job in jobs {
            let DeliveryFilter { states, route, source, topic, since, until, through, .. } = &job.filter;
            let states = if job.missing { vec![MISSING] } else { states.iter().map(|state| state.word()).collect() };
            insert.execute(params![
                job.id as i64,
                &*job.output,
                states.join(","),
                route,
                source,
                topic.as_ref().map(TopicMatch::to_string),
                since.map(|at| at.0),
                until.map(|at| at.0),
                through.unwrap_or_default().0,
                job.planned_at.0,
                job.render.word(),
                job.total as i64,
                job.done as i64,
                job.state.word(),
                job.updated_at.0,
                job.at.0,
                job.at.1,
                job.at.2,
                job.at.3,
            ])?;
        }
        drop((insert, taken));
        let last = jobs.iter().map(|job| job.id).max().unwrap_or_default();
        let forget = "DELETE FROM replays WHERE id <= ? AND state IN ('cancelled', 'finished')";
        self.db.prepare_cached(forget)?.execute([last.saturating_sub(KEPT_MAX) as i64])?;
        Ok(Slice { changed: jobs.len() as u64, next: None })
    }

    /// One slice of a feed; `from.0` counts them.
    pub(super) fn feed_replay(&mut self, id: u64, most: u64, now: Timestamp, from: Mark) -> rusqlite::Result<Slice> {
        let nothing = Slice { changed: 0, next: None };
        let Some(job) = replay(&self.db, id)?.filter(|job| job.state == JobState::Running && !job.missing) else { return Ok(nothing) };
        let room = most.saturating_sub(asked_again(&self.db, &mut self.names, &job.output, most)?);
        if room == 0 {
            return Ok(nothing);
        }
        let (mut changed, mut stopped_at) = (0, None);
        let mut at = job.at;
        if let Some(state) = job.looks_at() {
            let way = Scan { state: Some(state), from: place_of(job.at), newest_first: false, most: OPERATE_ROWS };
            let (hits, next) = scan(&self.db, &mut self.names, &job.filter, way)?;
            for hit in &hits {
                changed += self.wake_one(hit.place, Some(job.render), now)?;
                if changed == room {
                    stopped_at = Some(hit.place);
                    break;
                }
            }
            at = job.after(stopped_at.or(next));
        }
        let over = ReplayJob { at, ..job.clone() }.looks_at().is_none();
        let state = if over { JobState::Finished } else { JobState::Running };
        let go_on = "UPDATE replays SET done = done + ?, state = ?, updated_at = ?, at_state = ?, at_event = ?, at_target = ?, at_ordinal = ? WHERE id = ?";
        self.db.prepare_cached(go_on)?.execute(params![changed as i64, state.word(), now.0, at.0, at.1, at.2, at.3, id as i64])?;
        let more = !over && stopped_at.is_none() && from.0 + 1 < FEED_SLICES;
        Ok(Slice { changed, next: more.then_some(Mark(from.0 + 1, 0, 0, 0)) })
    }

    pub(super) fn turn_replay(&mut self, id: u64, to: JobState, now: Timestamp) -> rusqlite::Result<Slice> {
        let may = replay(&self.db, id)?.is_some_and(|job| job.state.may_become(to));
        if may {
            let turn = "UPDATE replays SET state = ?, updated_at = ? WHERE id = ?";
            self.db.prepare_cached(turn)?.execute(params![to.word(), now.0, id as i64])?;
        }
        Ok(Slice { changed: u64::from(may), next: None })
    }
}

/// As [`Reads::asked_again`](crate::journal::store::Reads::asked_again).
pub fn asked_again(db: &Connection, names: &mut Names, output: &str, most: u64) -> rusqlite::Result<u64> {
    let Some(number) = names.output_number(db, output)? else { return Ok(0) };
    let count = "SELECT count(*) FROM (SELECT 1 FROM deliveries WHERE output = ? AND state = 0 AND (replays > 0) = 1 LIMIT ?)";
    db.prepare_cached(count)?.query_row(params![number, most as i64], |row| row.get::<_, i64>(0)).map(|count| count as u64)
}

pub(super) fn replay(db: &Connection, id: u64) -> rusqlite::Result<Option<ReplayJob>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM replays WHERE id = ?"))?.query_row([id as i64], job_of).optional()
}

/// As [`Reads::replays`](crate::journal::store::Reads::replays).
pub fn replays(db: &Connection) -> rusqlite::Result<Vec<ReplayJob>> {
    let mut select = db.prepare_cached(&format!("SELECT {COLUMNS} FROM replays ORDER BY id DESC"))?;
    let rows = select.query_map([], job_of)?;
    rows.collect()
}

fn job_of(row: &Row<'_>) -> rusqlite::Result<ReplayJob> {
    let word = |column: usize| row.get::<_, String>(column);
    let unknown = |column| rusqlite::Error::InvalidColumnType(column, "a word of replays".into(), Type::Text);
    let states = word(2)?;
    let missing = states == MISSING;
    let states = states.split(',').filter(|_| !missing).map(State::of).collect::<Option<Vec<_>>>().ok_or_else(|| unknown(2))?;
    let time = |column: usize| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(Timestamp));
    let planned_at = Timestamp(row.get(9)?);
    let output = word(1)?;
    Ok(ReplayJob {
        id: row.get::<_, i64>(0)? as u64,
        output: output.as_str().into(),
        filter: DeliveryFilter {
            states,
            output: Some(output),
            route: row.get(3)?,
            source: row.get(4)?,
            topic: row.get::<_, Option<String>>(5)?.as_deref().map(TopicMatch::of),
            since: time(6)?,
            until: time(7)?,
            through: Some(Seq(row.get(8)?)),
            written_before: Some(planned_at),
            ..DeliveryFilter::default()
        },
        missing,
        render: Render::of(&word(10)?).ok_or_else(|| unknown(10))?,
        total: row.get::<_, i64>(11)? as u64,
        done: row.get::<_, i64>(12)? as u64,
        state: JobState::of(&word(13)?).ok_or_else(|| unknown(13))?,
        planned_at,
        updated_at: Timestamp(row.get(14)?),
        at: Mark(row.get(15)?, row.get(16)?, row.get(17)?, row.get(18)?),
    })
}
