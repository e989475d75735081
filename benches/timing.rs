//! Does the time that a comparison takes tell how much of a secret was right? Welch's t between what is wrong in its first byte and what is wrong in
//! its last (Reparaz, Balasch, Verbauwhede: "Dude, is my code constant time?", 2017). `cargo xtask timing` runs it.
//!
//! Measured are the one function that compares (`model::equal`; tests/tidy.rs sees to it that there is no other), and whole proofs: a signature and a
//! token. Two comparisons that do tell are measured with them, and must be found.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::hint::black_box;
use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::atomic::{Ordering, fence};
use std::time::Instant;
use switchyard::model::{Timestamp, equal};
use switchyard::verify::section::{Form, Secrets};
use switchyard::verify::{Draft, Request, Section, Verifier};
use switchyard_api::{At, Secret, Span};

/// Beyond this a difference is no chance.
const MOST_T: f64 = 4.5;
/// A difference that is there is there every time, and to the same side; one that another program made is not.
const ROUNDS: usize = 5;
/// The slowest twentieth is what the machine did meanwhile.
const KEPT: f64 = 0.95;
const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// Whether what is given is right.
type Run = Box<dyn Fn(&[u8]) -> bool>;

/// What is timed: it is given what is wrong early or late.
struct Subject {
    name: String,
    early: Vec<u8>,
    late: Vec<u8>,
    /// Calls of one sample.
    times: usize,
    run: Run,
    /// It tells, and must be found.
    control: bool,
}

fn main() -> ExitCode {
    let asked = std::env::args().skip_while(|argument| argument != "--samples").nth(1);
    let samples = asked.and_then(|samples| samples.parse().ok()).unwrap_or(100_000);
    println!("{samples} samples each, |t| at most {MOST_T}");
    let mut good = true;
    for subject in subjects() {
        let mut found: Vec<f64> = vec![];
        while found.len() < ROUNDS && found.iter().all(|t| t.abs() > MOST_T && t.signum() == found[0].signum()) {
            found.push(welch(&subject, samples, found.len() as u64));
        }
        let tells = found.iter().all(|t| t.abs() > MOST_T && t.signum() == found[0].signum());
        good &= tells == subject.control;
        let verdict = match (tells, subject.control) {
            (false, false) => "tells nothing",
            (true, true) => "tells, and is found, as it must be",
            (true, false) => "TELLS",
            (false, true) => "tells, and is NOT FOUND",
        };
        let list: Vec<String> = found.iter().map(|t| format!("{t:.1}")).collect();
        println!("{:<44} t = {:<22} {verdict}", subject.name, list.join(", "));
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn subjects() -> Vec<Subject> {
    let mut all = vec![];
    for length in [20, 32, 64, 4096] {
        all.push(compared(format!("equal, {length} bytes"), length, false, equal));
    }
    all.push(compared("control: byte by byte, 32 bytes".into(), 32, true, |a, b| {
        a.iter().zip(b).all(|(a, b)| black_box(a) == black_box(b))
    }));
    all.push(compared("control: ==, 4096 bytes".into(), 4096, true, |a, b| a == b));
    all.push(proof("a signature (orderchamp)", "orderchamp", "x-orderchamp-signature"));
    all.push(proof("a token (gitlab-token)", "gitlab-token", "x-gitlab-token"));
    all
}

fn compared(name: String, length: usize, control: bool, same: impl Fn(&[u8], &[u8]) -> bool + 'static) -> Subject {
    let secret: Vec<u8> = (0..length).map(|at| at as u8).collect();
    let (mut early, mut late) = (secret.clone(), secret.clone());
    early[0] ^= 1;
    late[length - 1] ^= 1;
    let times = (2048 / length).max(1);
    Subject { name, early, late, times, control, run: Box::new(move |given| same(black_box(&secret), black_box(given))) }
}

/// A whole proof of a request whose header is right but for its first or its last character.
fn proof(name: &str, preset: &str, header: &'static str) -> Subject {
    let at = |value| At { span: Span::default(), value };
    let section = Section {
        verify: Some(At { span: Span::default(), value: Form::Word(preset.to_owned()) }),
        secret: Some(at(Secrets(vec![Secret::new("made-up-secret-of-thirty-two-byte")]))),
        ..Section::default()
    };
    let verifier = Verifier::build("shop", Span::default(), &section, &mut vec![]).expect("a preset is good");
    let signed = verifier.sign(&Draft { topic: "T", body: b"{}", id: None }, NOW).expect("it signs");
    let right = signed.headers.into_iter().find(|(name, _)| name == header).expect("the proof's header").1.into_bytes();
    // Digits stay digits and letters letters: how they are decoded depends on what is given, and tells nothing of what is expected.
    let other = |byte: u8| match byte {
        b'0'..=b'8' | b'a'..=b'e' | b'g'..=b'y' => byte + 1,
        other => other - 1,
    };
    let (mut early, mut late) = (right.clone(), right.clone());
    early[0] = other(early[0]);
    if let Some(last) = late.last_mut() {
        *last = other(*last);
    }
    let run = move |given: &[u8]| {
        let mut headers = http::HeaderMap::new();
        headers.insert(header, http::HeaderValue::from_bytes(given).expect("text"));
        let request = Request {
            headers: &headers,
            body: b"{}",
            peer: IpAddr::from([127, 0, 0, 1]),
            certificate: None,
            document: None,
            roots: None,
            query: "",
        };
        verifier.prove(&request, NOW).is_ok()
    };
    assert!(run(&right) && !run(&early) && !run(&late));
    Subject { name: name.to_owned(), early, late, times: 1, control: false, run: Box::new(run) }
}

/// Welch's t between the two, asked in an order of chance.
#[allow(clippy::disallowed_methods)] // it is the time that it measures
fn welch(subject: &Subject, samples: usize, seed: u64) -> f64 {
    let mut chance = StdRng::seed_from_u64(seed);
    // The same bytes in memory for both, so that where they lie makes no difference.
    let mut given = subject.early.clone();
    let mut took: Vec<(bool, f64)> = Vec::with_capacity(samples);
    for _ in 0..samples {
        let late = chance.random::<bool>();
        given.copy_from_slice(if late { &subject.late } else { &subject.early });
        // What was copied is in memory before the clock is read: the two lie in different places, and one may take longer to get.
        fence(Ordering::SeqCst);
        let begun = Instant::now();
        for _ in 0..subject.times {
            black_box((subject.run)(black_box(&given)));
        }
        took.push((late, begun.elapsed().as_nanos() as f64));
    }
    let mut sorted: Vec<f64> = took.iter().map(|(_, nanos)| *nanos).collect();
    sorted.sort_by(f64::total_cmp);
    let most = sorted[((samples as f64 * KEPT) as usize).min(samples - 1)];
    let class = |which: bool| {
        let of: Vec<f64> = took.iter().filter(|(late, nanos)| *late == which && *nanos <= most).map(|(_, nanos)| *nanos).collect();
        let mean = of.iter().sum::<f64>() / of.len() as f64;
        let variance = of.iter().map(|nanos| (nanos - mean).powi(2)).sum::<f64>() / (of.len() as f64 - 1.0);
        (mean, variance / of.len() as f64)
    };
    let ((early, spread), (late, other_spread)) = (class(false), class(true));
    (late - early) / (spread + other_spread).sqrt().max(f64::EPSILON)
}
