//! Hostile jq against real worker processes (L6): what breaks a limit fails that run alone, and the next run works.

use std::path::PathBuf;
use std::time::Duration;
use switchyard::route::jq::{JqError, JqPool, Program};

/// Patience of a busy machine: here the limits of the worker itself are tried, not the clock.
const PATIENT: Duration = Duration::from_secs(30);

fn pool(workers: usize, wall: Duration) -> JqPool {
    JqPool::start(PathBuf::from(env!("CARGO_BIN_EXE_switchyard")), workers).with_wall(wall)
}

fn program(text: &str) -> Program {
    Program::check(text).unwrap_or_else(|problems| panic!("{text}: {problems:?}"))
}

#[tokio::test]
async fn results_come_back_as_json_with_their_digits() {
    let pool = pool(2, PATIENT);
    let event = r#"{"data":{"total":1500.00,"items":[1,{"b":2,"a":"ü\n"}]}}"#;
    assert_eq!(pool.run(&program(".data.total, .data.items[]"), event).await.unwrap(), ["1500.00", "1", r#"{"b":2,"a":"ü\n"}"#]);
    assert_eq!(pool.run(&program("empty"), event).await.unwrap(), [""; 0]);
    let error = pool.run(&program(".data + 1"), event).await.unwrap_err();
    assert!(matches!(&error, JqError::Program(why) if why.contains("cannot calculate")), "{error}");
    assert_eq!(pool.run(&program("."), r#"{"data":"\ud800"}"#).await, Err(JqError::Input));
}

/// What JSON cannot hold is said as that, and not as something large.
#[tokio::test]
async fn a_result_that_json_cannot_hold_says_so() {
    let pool = pool(1, PATIENT);
    let event = r#"{"data":{"n":1e400}}"#;
    assert_eq!(pool.run(&program(".data.n"), event).await.as_deref(), Ok(&["1e400".to_owned()][..]), "not calculated with");
    for text in [".data.n * 1", "[.data.n + 1]", "infinite", "nan"] {
        let error = pool.run(&program(text), event).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "jq: a result that JSON cannot hold: a number beyond every float, as `1e400 * 1` is, or bytes that are no text",
            "{text}"
        );
    }
    let large = pool.run(&program(r#""x" * 1000000 | [., .] | range(20) as $i | ."#), event).await.unwrap_err();
    assert_eq!(large.to_string(), "jq: results larger than 8 MiB");
}

#[tokio::test]
async fn every_hostile_program_fails_alone_and_the_next_run_works() {
    let hostile = [
        "[range(1e12)]",
        "[range(.n)]",
        "def f: f; f",
        "def f: 1 + f; f",
        "def f: [f]; f",
        r#""x" * 1e12"#,
        r#".n * "x""#,
        r#"reduce range(60) as $i ("x"; . + .)"#,
        "reduce range(60) as $i ([1]; . + .)",
        // Deeper than any stack, however small its frames.
        "reduce range(5000000) as $i (0; [.]) | tojson | length",
        "last(range(1e12))",
        "last(repeat(1))",
        "range(2000)",
        r#"[range(100)] | map("x" * 1000000) | join("")"#,
        r#""x" * 1000000 | [., .] | range(20) as $i | ."#,
        "nan, infinite | [.]",
        "[limit(1000000; repeat(\"xxxxxxxxxxxxxxxx\"))]",
        ".n | tostring * 100000 | tonumber",
    ];
    let pool = pool(1, PATIENT);
    let honest = program(".n");
    for text in hostile {
        let result = pool.run(&program(text), r#"{"n":1000000000000}"#).await;
        let told = result.as_ref().map(Vec::len).map_err(ToString::to_string);
        assert!(result.is_err(), "{text} gave {told:?}");
        assert!(!told.unwrap_err().contains('/'), "{text}");
        assert_eq!(pool.run(&honest, r#"{"n":7}"#).await.as_deref(), Ok(&["7".to_owned()][..]), "after {text}");
    }
}

#[tokio::test]
async fn a_run_that_takes_too_long_is_killed_and_others_go_on_meanwhile() {
    let wall = Duration::from_millis(300);
    let (slow, pool) = (pool(1, wall), pool(1, PATIENT));
    // One native step that compares half a megabyte half a million times: the meter on steps does not see it.
    let endless = program(r#""x" * 1000000 | indices("x" * 500000) | length"#);
    let honest = program(".n");
    let (timed, fine) = tokio::join!(slow.run(&endless, "{}"), pool.run(&honest, r#"{"n":7}"#));
    assert_eq!(timed, Err(JqError::Time(wall)));
    assert_eq!(fine.as_deref(), Ok(&["7".to_owned()][..]));
    let after = slow.with_wall(PATIENT).run(&honest, r#"{"n":8}"#).await;
    assert_eq!(after.as_deref(), Ok(&["8".to_owned()][..]));
}

#[tokio::test]
async fn many_at_once_share_a_few_workers() {
    let pool = std::sync::Arc::new(pool(2, PATIENT));
    let honest = program(".n * 2");
    let runs = (0..200).map(|n| {
        let (pool, honest) = (std::sync::Arc::clone(&pool), honest.clone());
        tokio::spawn(async move { pool.run(&honest, &format!(r#"{{"n":{n}}}"#)).await })
    });
    for (n, run) in runs.collect::<Vec<_>>().into_iter().enumerate() {
        assert_eq!(run.await.unwrap().as_deref(), Ok(&[(n * 2).to_string()][..]));
    }
}

#[tokio::test]
async fn a_binary_that_is_no_worker_is_said_so() {
    let pool = JqPool::start(PathBuf::from("/nowhere/switchyard"), 1);
    assert!(matches!(pool.run(&program("."), "{}").await, Err(JqError::NotStarted(_))));
    let pool = JqPool::start(PathBuf::from("/bin/true"), 1);
    assert!(matches!(pool.run(&program("."), "{}").await, Err(JqError::NotStarted(_))));
}
