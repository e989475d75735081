//! From a seed to a scenario. Swarm: each seed turns on some kinds of trouble and leaves others out, so that histories differ in kind
//! and not only in order.

use crate::chance::Chance;
use crate::scenario::{Again, Crash, Digest, Disk, File, Mood, Op, Order, Output, Route, Scenario, Turn, What};

/// Most far sides of a scenario.
const FARS_MAX: u64 = 4;

/// Which kinds of trouble a seed turns on.
struct Swarm {
    far: bool,
    disk: bool,
    crash: bool,
    stop: bool,
    reload: bool,
    people: bool,
    clock: bool,
    order: bool,
    splits: bool,
    impatient: bool,
}

impl Swarm {
    fn of(chance: &mut Chance) -> Self {
        // One in eight is calm: far sides alone make trouble, so that what must hold in peace is looked at too.
        let calm = chance.percent(12);
        let mut on = |percent| !calm && chance.percent(percent);
        let (disk, crash, stop, reload) = (on(40), on(55), on(30), on(40));
        let (people, clock, impatient) = (on(40), on(15), on(25));
        Swarm {
            disk,
            crash,
            stop,
            reload,
            people,
            clock,
            impatient,
            far: chance.percent(85),
            order: chance.percent(45),
            splits: chance.percent(30),
        }
    }
}

/// The scenario of a seed.
pub fn scenario(seed: u64) -> Scenario {
    let mut chance = Chance::of(seed, "scenario");
    let swarm = Swarm::of(&mut chance);
    let fars = chance.within(1, FARS_MAX);
    let mut first = file(&mut chance, &swarm, fars);
    name_on_dead(&mut Chance::of(seed, "on_dead"), &mut first);
    keep_back(&mut Chance::of(seed, "back"), &mut first);
    program(&mut Chance::of(seed, "program"), &mut first);
    let mut files = vec![first];
    if swarm.reload {
        for _ in 0..chance.within(1, 2) {
            let other = changed(&mut chance, &files[0], fars);
            files.push(other);
        }
    }
    let mut ops = ops(&mut chance, &swarm, fars, files.len() as u64);
    if swarm.people {
        silence(&mut Chance::of(seed, "silence"), fars, &mut ops);
        drill(&mut Chance::of(seed, "drill"), fars, &mut ops);
        purge_late(&mut Chance::of(seed, "late"), fars, &mut ops);
    }
    let begins = at_the_hour(&mut Chance::of(seed, "hour"), &files[0], &mut ops);
    bundle(&mut Chance::of(seed, "each"), &mut ops);
    let crashes = crashes(&mut chance, &swarm);
    Scenario { seed, window: chance.one(&[2, 4, 8, 64]), files, ops, crashes, past_retention: chance.percent(4), begins }
}

/// A small scenario, for a crash at each of its calls.
pub fn small(seed: u64) -> Scenario {
    let mut scenario = scenario(seed);
    let mut posts = 0;
    scenario.ops.retain(|op| {
        posts += u32::from(matches!(op.what, What::Post { .. }));
        !matches!(op.what, What::Post { .. }) || posts <= 4
    });
    scenario.ops.truncate(12);
    scenario.crashes.clear();
    scenario.past_retention = false;
    scenario
}

fn file(chance: &mut Chance, swarm: &Swarm, fars: u64) -> File {
    let outputs = (0..fars).map(|far| output(chance, swarm, far as u8)).collect();
    let routes = (0..chance.within(1, 3)).map(|number| route(chance, number as u8, fars)).collect();
    File { outputs, routes }
}

/// In three of ten the dead of outputs go to another: upwards, so that there are no circles. By draws of its own: the rest of a seed stays.
fn name_on_dead(chance: &mut Chance, file: &mut File) {
    let fars = file.outputs.len() as u64;
    if chance.percent(30) {
        for output in &mut file.outputs {
            let next = u64::from(output.far) + 1;
            output.on_dead = (next < fars).then(|| chance.within(next, fars - 1) as u8);
        }
    }
}

/// Some outputs have hours, a limit for each key, or digests. By draws of its own, as above.
fn keep_back(chance: &mut Chance, file: &mut File) {
    let (hours, keys, digests) = (chance.percent(20), chance.percent(30), chance.percent(25));
    for output in &mut file.outputs {
        output.keyed = keys && chance.percent(60);
        output.closed = (hours && chance.percent(50)).then(|| (chance.within(0, 2) as u16, chance.within(1, 2) as u16));
        let digest = digests && chance.percent(50) && output.order == Order::Free && !output.splits;
        output.digest =
            digest.then(|| Digest { wait: chance.percent(30), every: chance.within(1, 20) as u32, max: chance.one(&[1, 3, 20]) });
    }
}

/// In one of ten some routes ask a program what they take, or what becomes of it: compiling it costs as much as the rest of a run.
fn program(chance: &mut Chance, file: &mut File) {
    if chance.percent(10) {
        for route in &mut file.routes {
            route.only = chance.percent(40).then(|| chance.below(3) as u8);
            route.turn = chance.percent(60).then(|| chance.one(&[Turn::Twice, Turn::Some, Turn::Fails]));
        }
    }
}

/// In a third of those in which people do something they drill.
fn drill(chance: &mut Chance, fars: u64, ops: &mut Vec<Op>) {
    if chance.percent(33) {
        for _ in 0..chance.within(1, 3) {
            let what = What::Drill { far: chance.below(fars) as u8, shows: chance.percent(50) };
            let at = chance.below(ops.len() as u64 + 1) as usize;
            ops.insert(at, Op { after: chance.one(&[0, 3, 500]), what });
        }
    }
}

/// In a fifth of those somebody ends what waits for an output that takes its time: some of it is on the wire when the purge begins, and fails
/// while it looks.
fn purge_late(chance: &mut Chance, fars: u64, ops: &mut Vec<Op>) {
    if chance.percent(20) {
        let far = chance.below(fars) as u8;
        let takes = chance.within(900, 4_500) as u32;
        let mood = Mood::Late { share: chance.one(&[50, 100]), takes, after: chance.within(1_000, 30_000) as u32 };
        let at = chance.below(ops.len() as u64 + 1) as usize;
        ops.insert(at, Op { after: 0, what: What::Far { far, mood } });
        let posts = ops[at..].iter().position(|op| matches!(op.what, What::Post { .. })).map_or(ops.len(), |post| at + post + 1);
        ops.insert(posts, Op { after: chance.below(1_500) as u32, what: What::Purge { far, waiting: true } });
    }
}

/// Where outputs have hours it may begin in the moments before one of them opens, with a disk that takes its time: what is held in one moment
/// is written in another. Else at eight.
fn at_the_hour(chance: &mut Chance, file: &File, ops: &mut Vec<Op>) -> u32 {
    let opens: Vec<u32> =
        file.outputs.iter().filter_map(|output| output.closed).map(|(from, minutes)| u32::from(from + minutes) * 60_000).collect();
    if opens.is_empty() || chance.percent(50) {
        return 0;
    }
    if chance.percent(30) {
        leap(chance, &opens, ops);
        return 0;
    }
    let slow = chance.one(&[1, 20, 300, 450, 700]);
    ops.insert(0, Op { after: 0, what: What::Disk(Disk::Slow(slow)) });
    chance.one(&opens) - chance.within(1, 2_500) as u32
}

/// Somebody sets the clock to the moment before an output opens, just as an event comes: what is held then is not held any more when anybody looks.
fn leap(chance: &mut Chance, opens: &[u32], ops: &mut Vec<Op>) {
    let posts: Vec<usize> = (0..ops.len()).filter(|at| matches!(ops[*at].what, What::Post { .. })).take(4).collect();
    if posts.is_empty() {
        return;
    }
    let at = chance.one(&posts);
    let passed: u32 = ops[..=at].iter().map(|op| op.after).sum();
    let jump = i64::from(chance.one(opens)) - i64::from(passed) - chance.within(20, 900) as i64;
    let after = std::mem::replace(&mut ops[at].after, chance.within(0, 9) as u32);
    ops.insert(at, Op { after, what: What::Clock(jump as i32) });
}

/// In one of five some requests carry several events.
fn bundle(chance: &mut Chance, ops: &mut [Op]) {
    if chance.percent(20) {
        for op in ops {
            if let What::Post { items, .. } = &mut op.what
                && chance.percent(40)
            {
                *items = chance.within(1, 4) as u8;
            }
        }
    }
}

/// In half of those in which people do something they also silence outputs and end deliveries.
fn silence(chance: &mut Chance, fars: u64, ops: &mut Vec<Op>) {
    if chance.percent(50) {
        for _ in 0..chance.within(1, 4) {
            let far = chance.below(fars) as u8;
            let what = match chance.below(5) {
                0 | 1 => What::Silence { far, seconds: chance.one(&[1, 10, 60]), send: chance.percent(50) },
                2 => What::Speak,
                _ => What::Purge { far, waiting: chance.percent(60) },
            };
            let at = chance.below(ops.len() as u64 + 1) as usize;
            ops.insert(at, Op { after: chance.one(&[0, 3, 500]), what });
        }
    }
}

fn output(chance: &mut Chance, swarm: &Swarm, far: u8) -> Output {
    let order = if swarm.order && chance.percent(60) {
        if chance.percent(50) { Order::Hold } else { Order::Skip(chance.within(2, 20) as u32) }
    } else {
        Order::Free
    };
    Output {
        far,
        settings: 0,
        rate: limit(chance),
        concurrency: chance.one(&[1, 1, 2, 4, 8]),
        timeout: chance.one(&[1, 2, 5]),
        attempts: chance.one(&[1, 2, 3, 5, 8]),
        over: chance.one(&[5, 30, 120, 300]),
        hold_unknown: chance.percent(25),
        order,
        batch: chance.one(&[1, 1, 1, 3, 8]),
        splits: swarm.splits && chance.percent(50),
        on_dead: None,
        keyed: false,
        closed: None,
        digest: None,
    }
}

fn limit(chance: &mut Chance) -> Option<(u32, u64, u32)> {
    chance.percent(40).then(|| (chance.within(1, 8) as u32, chance.one(&[500, 1_000, 2_000]), chance.one(&[1, 1, 3])))
}

fn route(chance: &mut Chance, number: u8, fars: u64) -> Route {
    let mut to: Vec<u8> = (0..fars as u8).filter(|_| chance.percent(60)).collect();
    if to.is_empty() {
        to.push(chance.below(fars) as u8);
    }
    Route { number, topic: chance.percent(40).then(|| chance.below(3) as u8), to, only: None, turn: None }
}

/// The same with some outputs gone, some limits changed, some connections new, some routes gone. What is kept in order stays so.
fn changed(chance: &mut Chance, first: &File, fars: u64) -> File {
    let mut file = first.clone();
    for output in &mut file.outputs {
        match chance.below(5) {
            0 => output.rate = limit(chance),
            1 => output.settings += 1,
            2 => output.concurrency = chance.one(&[1, 2, 6]),
            3 => output.batch = chance.one(&[1, 3]),
            _ => {}
        }
    }
    if chance.percent(60) && file.outputs.len() > 1 {
        let gone = file.outputs.remove(chance.below(file.outputs.len() as u64) as usize).far;
        file.routes.iter_mut().for_each(|route| route.to.retain(|far| *far != gone));
        file.outputs.iter_mut().for_each(|output| output.on_dead = output.on_dead.filter(|far| *far != gone));
    }
    if chance.percent(30) && file.routes.len() > 1 {
        file.routes.remove(chance.below(file.routes.len() as u64) as usize);
    }
    file.routes.retain(|route| !route.to.is_empty());
    if file.routes.is_empty() {
        let mut route = route(chance, 9, fars);
        route.to = vec![file.outputs[0].far];
        file.routes.push(route);
    }
    file
}

fn ops(chance: &mut Chance, swarm: &Swarm, fars: u64, files: u64) -> Vec<Op> {
    let count = chance.within(8, 36);
    let mut ids = 0;
    let pace = chance.one(&[5, 40, 400, 3_000]);
    (0..count)
        .map(|_| {
            let what = if chance.percent(55) { None } else { trouble(chance, swarm, fars, files) };
            let what = what.unwrap_or_else(|| post(chance, swarm, &mut ids));
            // Mostly close together; now and then a long quiet, in which all that was begun ends.
            let after = if chance.percent(6) { chance.within(5_000, 70_000) } else { chance.below(pace) };
            Op { after: after as u32, what }
        })
        .collect()
}

fn fresh(chance: &mut Chance, swarm: &Swarm, ids: &mut u32) -> What {
    *ids += 1;
    let patience = if swarm.impatient && chance.percent(40) { chance.within(0, 30) as u32 } else { 5_000 };
    let words = chance.one(&[0, 1, 3, 12]);
    What::Post { id: *ids, topic: chance.below(3) as u8, key: chance.below(3) as u8, words, patience, items: 0 }
}

fn post(chance: &mut Chance, swarm: &Swarm, ids: &mut u32) -> What {
    if *ids > 0 && chance.percent(12) {
        return What::Post { id: chance.within(1, u64::from(*ids)) as u32, topic: 0, key: 0, words: 0, patience: 5_000, items: 0 };
    }
    fresh(chance, swarm, ids)
}

fn trouble(chance: &mut Chance, swarm: &Swarm, fars: u64, files: u64) -> Option<What> {
    let far = chance.below(fars) as u8;
    let down = chance.one(&[10, 500, 3_000, 40_000]);
    match chance.below(20) {
        0..=6 if swarm.far => Some(What::Far { far, mood: mood(chance) }),
        7..=8 if swarm.disk => Some(What::Disk(disk(chance))),
        9 if swarm.crash => Some(What::Crash(down)),
        10 if swarm.stop => Some(What::Stop(down)),
        11..=13 if swarm.reload => Some(What::Reload(chance.below(files) as u8)),
        14 if swarm.reload => Some(What::BadReload(chance.below(files) as u8)),
        15 if swarm.people => Some(What::Pause(far)),
        16 if swarm.people => Some(What::Resume(far)),
        17 if swarm.people => {
            let state = chance.one(&[Again::Dead, Again::Held, Again::Delivered]);
            Some(What::Replay { far, state })
        }
        18 if swarm.people => Some(What::PassBy),
        19 if swarm.clock => {
            let jump = chance.one(&[-3_600_000, -45_000, -5_000, 5_000, 3_600_000, 86_400_000]);
            Some(What::Clock(jump))
        }
        _ => None,
    }
}

fn disk(chance: &mut Chance) -> Disk {
    match chance.below(5) {
        0 | 1 => Disk::Full(chance.within(1, 12) as u8),
        2 => Disk::FailsBefore,
        3 => Disk::FailsAfter,
        _ => Disk::Slow(chance.one(&[1, 20, 300, 4_500])),
    }
}

fn mood(chance: &mut Chance) -> Mood {
    let share = chance.one(&[20, 50, 100]);
    match chance.below(12) {
        0 | 1 => Mood::Well(chance.one(&[1, 20, 200])),
        2 | 3 => Mood::Busy { share, after: chance.percent(40).then(|| chance.within(500, 20_000) as u32) },
        4 => Mood::Down,
        5 => Mood::Misconfigured,
        6 => Mood::Rejects(share),
        7 => Mood::Silent(share),
        8 => Mood::Lost(share),
        9 => Mood::Hangs(share),
        10 => Mood::Mute { share, sent: chance.percent(50) },
        _ => Mood::Panics(share),
    }
}

fn crashes(chance: &mut Chance, swarm: &Swarm) -> Vec<Crash> {
    let mut crashes = vec![];
    if swarm.crash {
        let mut call = 0;
        for _ in 0..chance.below(4) {
            call += chance.within(1, 60);
            crashes.push(Crash { call, after: chance.percent(50) });
        }
    }
    crashes
}
