//! Limits by key, replays beside live deliveries, an output that comes back to a long line, and one delivery that is poison.

use super::*;

fn limit(count: u32, per: Duration, burst: u32) -> Limit {
    Limit { rate: Rate { count, per }, burst: NonZeroU32::new(burst).unwrap() }
}

fn per_second(count: u32, burst: u32) -> Limit {
    limit(count, Duration::from_secs(1), burst)
}

/// An output with this limit for each key.
fn keyed(limit: Limit, concurrency: u32, key_of: fn(i64) -> u64) -> World {
    let policy = Policy { limit: Some(limit), rate_key: Some("key".into()), ..(*policy(0, concurrency, 5, OnUnknown::Retry)).clone() };
    let mut world = World { key_of, ..World::new(Arc::new(policy)) };
    // Buckets start empty: here they have had their time.
    world.pass(limit.rate.per * limit.burst.get());
    world
}

fn arrive(world: &mut World, count: u32) {
    for _ in 0..count / 200 {
        world.arrive(200);
    }
    world.arrive((count % 200) as u8);
}

/// How many of a key were sent.
fn sent(world: &World, key: u64) -> usize {
    world.sends.iter().filter(|sent| (world.key_of)(sent.seq) == key).count()
}

#[test]
fn a_key_with_a_long_line_keeps_no_other_waiting_and_takes_no_memory() {
    // More of one key than the window holds; then one of each of a hundred.
    let mut world = keyed(per_second(1, 1), 64, |seq| if seq <= 6_000 { 0 } else { seq as u64 });
    arrive(&mut world, 6_000);
    arrive(&mut world, 100);
    world.pass(Duration::from_millis(500));
    let others = (6_001..=6_100).filter(|key| sent(&world, *key) == 1).count();
    assert_eq!((others, sent(&world, 0)), (100, 1), "served in turn");
    assert!(world.engine.waiting() <= 256, "{} in memory", world.engine.waiting());
    let told: Vec<&Row> = world.durable.rows.values().filter(|row| row.state == State::Waiting).collect();
    assert!(told.len() > 5_700 && told.iter().any(|row| row.detail == "waits for its turn: 1/s for each `key`"), "{:?}", told.first());
    world.pass(Duration::from_secs(100));
    assert_eq!(sent(&world, 0), 101, "and at its limit");
    world.check_rates();
}

#[test]
fn every_key_gets_its_whole_limit_in_the_order_of_arrival_through_a_crash() {
    for burst in [1, 4] {
        let mut world = keyed(per_second(2, burst), 64, |seq| (seq % 40) as u64);
        arrive(&mut world, 1_600);
        world.pass(Duration::from_secs(8));
        world.crash();
        // Those that come after a start do not know who was told before, and may go before a few.
        world.arrive(40);
        world.pass(Duration::from_millis(13_500));
        assert!(world.durable.rows.values().filter(|row| row.state == State::Delivered).count() >= 1_600, "{}", world.delivered.len());
        world.check_rates();
        for key in 0..40 {
            let of: Vec<i64> = world.sends.iter().map(|sent| sent.seq).filter(|seq| seq % 40 == key && *seq <= 1_600).collect();
            let steps_back = of.windows(2).filter(|pair| pair[1] < pair[0]).count();
            assert!(steps_back <= 3, "{steps_back} steps back of key {key}: {of:?}");
        }
    }
}

#[test]
fn one_that_is_late_goes_before_those_that_came_after_it() {
    let mut world = keyed(per_second(1, 1), 8, |_| 0);
    arrive(&mut world, 10);
    world.pass(Duration::from_millis(10));
    // All are told when to come; the output is paused while five are due, and others arrive.
    world.step(Input::Pause, &mut vec![]);
    world.pass(Duration::from_secs(5));
    arrive(&mut world, 10);
    world.step(Input::Resume, &mut vec![]);
    world.pass(Duration::from_secs(25));
    let order: Vec<i64> = world.sends.iter().map(|sent| sent.seq).collect();
    assert_eq!(order.len(), 20, "{order:?}");
    let last_of_the_first = order.iter().position(|seq| *seq > 10).unwrap();
    assert!(last_of_the_first >= 9, "{order:?}");
    world.check_rates();
}

#[test]
fn one_whose_turn_it_was_when_the_output_went_down_stays_first() {
    let mut world = keyed(per_second(1, 1), 8, |_| 0);
    arrive(&mut world, 20);
    world.far = Far::Down;
    world.pass(Duration::from_millis(500));
    world.far = Far::Well;
    world.pass(Duration::from_secs(4));
    assert_eq!(world.delivered.first(), Some(&World::key(1).1), "{:?}", world.sends.iter().map(|sent| sent.seq).collect::<Vec<_>>());
}

#[test]
fn a_raised_limit_calls_those_back_that_were_told_to_come_much_later() {
    let mut world = keyed(limit(1, Duration::from_hours(1), 1), 8, |seq| (seq % 2) as u64);
    arrive(&mut world, 40);
    world.pass(Duration::from_mins(1));
    assert_eq!(world.sends.len(), 2);
    world.policy = Arc::new(Policy { limit: Some(per_second(10, 1)), ..(*world.policy).clone() });
    world.reconfigure();
    world.pass(Duration::from_secs(3));
    assert_eq!(world.sends.len(), 40, "the line is told anew");
    // The file was changed while the daemon was down.
    let slow = Policy { limit: Some(limit(1, Duration::from_hours(1), 1)), ..(*world.policy).clone() };
    (world.policy, world.next_seq) = (Arc::new(slow), 101);
    world.crash();
    arrive(&mut world, 40);
    world.pass(Duration::from_secs(10));
    world.policy = Arc::new(Policy { rate_key: None, limit: None, ..(*world.policy).clone() });
    world.crash();
    world.pass(Duration::from_secs(3));
    assert_eq!(world.sends.len(), 80, "whatever limit comes next, or none");
}

#[test]
fn a_changed_limit_gives_no_fresh_burst() {
    let mut world = keyed(per_second(1, 20), 32, |_| 0);
    world.pass(Duration::from_mins(1));
    arrive(&mut world, 200);
    world.pass(Duration::from_millis(100));
    assert_eq!(world.sends.len(), 20, "the burst");
    for burst in [21, 22, 23] {
        world.policy = Arc::new(Policy { limit: Some(per_second(1, burst)), ..(*world.policy).clone() });
        world.reconfigure();
        world.pass(Duration::from_millis(900));
    }
    assert_eq!(world.sends.len(), 20, "none of them gives one");
    world.pass(Duration::from_secs(5));
    assert!((24..=26).contains(&world.sends.len()), "{}", world.sends.len());
}

#[test]
fn a_far_side_that_asks_to_wait_is_left_alone_by_that_key_only() {
    let mut world = keyed(per_second(100, 1), 8, |seq| (seq > 3) as u64);
    world.far = Far::Busy(Some(30_000));
    world.arrive(1);
    world.pass(Duration::from_millis(100));
    world.far = Far::Well;
    assert!(world.engine.asked_until(world.at.now).is_some());
    world.arrive(10);
    world.pass(Duration::from_secs(29));
    assert_eq!((sent(&world, 0), sent(&world, 1)), (1, 8));
    world.pass(Duration::from_secs(2));
    assert_eq!((sent(&world, 0), world.delivered.len()), (4, 11));
    // As long as it likes it is not waited for.
    world.far = Far::Busy(Some(100_000_000));
    world.next_seq = 1_000;
    world.arrive(1);
    world.pass(Duration::from_secs(1));
    world.far = Far::Well;
    world.pass(Duration::from_secs(91));
    assert_eq!(world.delivered.len(), 12, "`max_wait` is 90s");
}

#[test]
fn more_keys_than_are_remembered_wait_and_none_is_over_its_limit() {
    let mut world = keyed(limit(1, Duration::from_secs(20), 1), 8, |seq| (seq % 300) as u64);
    arrive(&mut world, 600);
    world.pass(Duration::from_mins(15));
    assert_eq!(world.delivered.len(), 600);
    world.check_rates();
}

#[test]
fn replays_take_their_share_and_live_deliveries_do_not_stand_behind_them() {
    let mut world = world(0, 1);
    arrive(&mut world, 3_000);
    world.pass(Duration::from_mins(2));
    assert_eq!(world.delivered.len(), 3_000);
    world.replay(3_000);
    world.pass(Duration::from_millis(500));
    let before = world.delivered.len();
    assert!(before > 3_000, "with nothing live they may have all");
    // A live one among thousands of replays, in memory and in the journal: the next turn but one is its.
    let from = world.sends.len();
    world.arrive(1);
    assert!(!world.durable.rows.contains_key(&World::key(3_001).1), "and it needs no row for that");
    world.pass(Duration::from_millis(100));
    assert!(world.sends[from..].iter().position(|sent| sent.seq == 3_001).is_some_and(|at| at <= 2), "it waits behind replays");
    // A rush of them: a fifth of the turns is left to replays as long as it lasts.
    let from = world.sends.len();
    world.arrive(200);
    world.pass(Duration::from_secs(8));
    let last = world.sends[from..].iter().rposition(|sent| sent.seq > 3_001).unwrap() + 1;
    let replays = world.sends[from..from + last].iter().filter(|sent| sent.seq <= 3_000).count();
    assert!((48..=52).contains(&replays), "{replays} replays among 200 live deliveries");
    world.pass(Duration::from_mins(2));
    assert_eq!(world.delivered.len(), 6_201);
}

#[test]
fn one_that_brings_the_output_down_each_time_keeps_a_hundred_good_ones_waiting_for_seconds_only() {
    for concurrency in [1, 8] {
        let mut world = world(0, concurrency);
        world.poison = Some(1);
        world.arrive(101);
        world.pass(Duration::from_mins(3));
        assert_eq!(world.delivered.len(), 100, "with {concurrency} at once");
        let poison = world.sends_of[&World::key(1).1];
        assert!(poison < 20, "{poison} times");
        // And those that come later.
        world.arrive(100);
        world.pass(Duration::from_mins(10));
        assert_eq!(world.delivered.len(), 200, "with {concurrency} at once");
    }
}

/// Sends in calls of many; a call in which one stands that is poison fails as a whole. How many are delivered, and dead, after so long.
fn in_batches(poison: i64, count: i64, outcome: &Outcome, time: Duration) -> (usize, Vec<i64>) {
    let policy = Arc::new(Policy { schedule: Schedule::over(4, Duration::from_secs(30)), ..(*policy(0, 4, 4, OnUnknown::Retry)).clone() });
    let mut at = Moment { now: Instant(1_000_000_000), wall: Timestamp(1_700_000_000_000) };
    let (mut engine, end) = (Engine::new(policy, 50, at.now), at.now + time);
    let (mut delivered, mut dead) = (BTreeSet::new(), vec![]);
    for seq in 1..=count {
        let new = New { key: World::key(seq).1, size: 300, seed: seq as u64, rate_key: None, row: None, payload: seq };
        engine.step(at, Input::Arrived(new), &mut vec![]);
    }
    while at.now < end {
        let mut actions = vec![];
        engine.step(at, Input::Turn, &mut actions);
        let mut wake = end;
        for action in &actions {
            match action {
                Action::Send(tickets) => {
                    let bad = tickets.iter().any(|ticket| engine.get(*ticket).is_some_and(|delivery| delivery.payload == poison));
                    let said = if bad { outcome.clone() } else { Outcome::Delivered { detail: "200".into() } };
                    for ticket in tickets {
                        engine.step(at, Input::Outcome(*ticket, said.clone()), &mut vec![]);
                    }
                    engine.step(at, Input::CallEnded, &mut vec![]);
                }
                Action::Write(rows) => {
                    engine.settlements(*rows, |verdict, delivery| match verdict.state {
                        State::Delivered => drop(delivered.insert(delivery.payload)),
                        State::Dead => dead.push(delivery.payload),
                        State::Waiting | State::Held => {}
                    });
                    engine.step(at, Input::Written(true), &mut vec![]);
                }
                Action::Load { .. } => engine.step(at, Input::Loaded(Page { rows: vec![], more: None, next_due: None }), &mut vec![]),
                Action::WakeAt(then) => wake = *then,
                _ => {}
            }
        }
        let busy = actions.iter().any(|action| !matches!(action, Action::WakeAt(_)));
        let next = if busy { at.now } else { wake.min(end) };
        at = Moment { now: next, wall: at.wall + next.since(at.now) };
    }
    (delivered.len(), dead)
}

#[test]
fn of_a_batch_that_fails_because_of_one_the_others_get_through() {
    let busy = Outcome::Retry { why: "500".into(), after: None };
    assert_eq!(in_batches(17, 120, &busy, Duration::from_hours(1)), (119, vec![17]));
    let down = Outcome::Down { why: "connection reset".into(), after: None };
    let (delivered, dead) = in_batches(17, 120, &down, Duration::from_mins(15));
    assert_eq!((delivered, dead), (119, vec![]));
}

/// reliability F13: up for a second, down for nine, then a long outage, with a hundred thousand waiting.
#[test]
fn a_flapping_output_and_a_long_line_behind_an_outage_stay_within_rate_and_concurrency() {
    let mut world = World::new(Arc::new(Policy { limit: Some(per_second(1_000, 10)), ..(*policy(0, 32, 5, OnUnknown::Retry)).clone() }));
    world.far = Far::Down;
    // They stand in the journal: a daemon that was down as well.
    for seq in 1..=100_000 {
        let key = World::key(seq).1;
        world.durable.events.insert(key.clone());
        let row = world.waiting(world.at.wall);
        world.durable.rows.insert(key, row);
    }
    world.next_seq = 100_001;
    world.run();
    for _ in 0..12 {
        world.far = Far::Well;
        world.pass(Duration::from_secs(1));
        world.far = Far::Down;
        world.pass(Duration::from_secs(9));
    }
    world.pass(Duration::from_mins(30));
    let (tried, delivered) = (world.sends.len(), world.delivered.len());
    // What was out when it went down, and one probe an interval.
    assert!(tried - delivered <= 12 * 32 + 130, "{} in vain", tried - delivered);
    assert!(world.durable.rows.values().all(|row| row.attempts <= 1), "no attempt counts while it is down");
    world.far = Far::Well;
    world.pass(Duration::from_mins(3));
    assert_eq!(world.delivered.len(), 100_000);
    // A bucket beside the engine's: never more than it holds.
    let (mut level, mut last) = (10.0_f64, world.sends[0].at);
    for sent in &world.sends {
        level = (level + sent.at.since(last).as_secs_f64() * 1_000.0).min(10.0) - 1.0;
        last = sent.at;
        assert!(level > -1e-3, "over the limit at {last:?}");
    }
}
