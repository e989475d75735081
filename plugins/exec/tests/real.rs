//! The `exec` output with real programs, and the suite that every output passes.

#![allow(clippy::unwrap_used)] // helpers of tests

mod far;

use far::{Folder, SECRET, connect, pid_is_gone, wish};
use std::time::Duration;
use switchyard_api::conformance::{deliver, deliver_one, parcel};
use switchyard_api::{Handle, Kind, Kit, Message, Outcome, Output, Parcel, Settle, Wall};
use switchyard_exec::{Config, Exec, ExecOutput, Mode};

mod stays {
    use super::far::Stays;
    switchyard_api::conformance!(Stays);
}
mod runs_once {
    use super::far::Once;
    switchyard_api::conformance!(Once);
}

fn plain() -> Message {
    wish(&[("detail", "kept")])
}
async fn stays(folder: &Folder) -> ExecOutput {
    connect(far::program(), folder, Duration::from_secs(20)).await
}
async fn say(output: &ExecOutput, number: u64, name: &str, value: &str) -> Outcome {
    deliver_one(output, parcel(number, &wish(&[(name, value)]))).await
}
async fn delivered(output: &ExecOutput, number: u64) {
    let outcome = deliver_one(output, parcel(number, &Message::default())).await;
    assert_eq!(outcome.word(), "delivered", "{outcome:?}");
}
/// Delivers until it does not rest any more; each time in between is down with a time.
async fn after_the_rest(output: &ExecOutput, number: u64) -> Outcome {
    loop {
        match deliver_one(output, parcel(number, &Message::default())).await {
            Outcome::Down { why, after: Some(after) } => {
                assert!(why.contains("started again in") && after <= Duration::from_mins(1), "{why}");
                tokio::time::sleep(after).await;
            }
            outcome => return outcome,
        }
    }
}

#[tokio::test]
async fn what_the_program_says_is_the_outcome() {
    let folder = Folder::new();
    let output = stays(&folder).await;
    for word in ["delivered", "retry", "down", "misconfigured", "rejected", "unknown"] {
        let outcome = deliver_one(&output, parcel(1, &wish(&[("outcome", word), ("detail", &format!("{word} {SECRET}\n"))]))).await;
        assert_eq!((outcome.word(), outcome.text()), (word, format!("{word} ***").as_str()));
    }
}

#[tokio::test]
async fn a_batch_goes_in_its_order_and_what_is_poison_spoils_no_other() {
    let folder = Folder::new();
    let output = connect(Config { max_batch: Some(far::at(50)), ..far::program() }, &folder, Duration::from_secs(20)).await;
    assert_eq!(output.max_batch(), 50);
    let poison = wish(&[("poison", "1")]);
    let plain = plain();
    let parcels: Vec<Parcel> = (0..50).map(|n| parcel(n, if n == 20 { &poison } else { &plain })).collect();
    let ids: Vec<String> = parcels.iter().filter(|p| p.handle != Handle(20)).map(|p| p.delivery.clone()).collect();
    let said = deliver(&output, parcels, None).await;
    for n in 0..50 {
        assert_eq!(said.outcome(Handle(n)).word(), if n == 20 { "rejected" } else { "delivered" });
    }
    assert_eq!(folder.arrived(), ids);
}

#[tokio::test]
async fn what_is_no_answer_is_quoted_and_the_program_is_started_again() {
    let folder = Folder::new();
    let output = stays(&folder).await;
    delivered(&output, 1).await;
    let first = folder.pid();
    let outcome = say(&output, 2, "print", &format!("debug: key {SECRET} \u{1b}[31m")).await;
    assert_eq!(outcome.word(), "unknown", "{outcome:?}");
    assert!(outcome.text().contains(r"`debug: key *** \u{1b}[31m`") && !outcome.text().contains(SECRET), "{outcome:?}");
    assert!(pid_is_gone(first));
    assert_eq!(after_the_rest(&output, 3).await.word(), "delivered");
    assert_ne!(folder.pid(), first);
    let long = say(&output, 4, "print", &"x".repeat(70_000)).await;
    assert!(long.word() == "unknown" && long.text().contains("more than 65536 bytes") && long.text().len() < 1_000, "{long:?}");
}

#[tokio::test]
async fn what_it_had_read_is_unknown_and_what_it_had_not_is_down() {
    let folder = Folder::new();
    let output = connect(Config { max_batch: Some(far::at(5)), ..far::program() }, &folder, Duration::from_secs(20)).await;
    // A pipe gives 64 KiB at a time: the fourth line is longer than what can have been read with those before it.
    let long = wish(&[("detail", &"x".repeat(200_000))]);
    let parcels = vec![parcel(1, &plain()), parcel(2, &wish(&[("die", "3")])), parcel(3, &plain()), parcel(4, &long), parcel(5, &long)];
    let said = deliver(&output, parcels, None).await;
    let word = |n| said.outcome(Handle(n)).word();
    assert_eq!((word(1), word(2), word(5)), ("delivered", "unknown", "down"), "{said:?}");
    assert!(said.outcome(Handle(2)).text().contains("exit status: 3"), "{said:?}");
    assert_eq!(folder.arrived().len(), 2);
}

#[tokio::test]
async fn a_program_that_dies_at_its_start_costs_no_delivery() {
    let folder = Folder::new();
    folder.touch("gone");
    let output = stays(&folder).await;
    let outcome = deliver_one(&output, parcel(1, &Message::default())).await;
    assert!(outcome.word() == "down" && outcome.text().contains("the shop's database cannot be reached with key ***"), "{outcome:?}");
    folder.remove("gone");
    assert_eq!(after_the_rest(&output, 1).await.word(), "delivered");
    assert_eq!(folder.arrived().len(), 1);
}

#[tokio::test]
async fn each_death_without_an_answer_makes_the_rest_longer() {
    let folder = Folder::new();
    folder.touch("gone");
    let output = stays(&folder).await;
    let mut rests = vec![];
    for _ in 0..3 {
        assert_eq!(deliver_one(&output, parcel(1, &Message::default())).await.word(), "down");
        let Outcome::Down { after: Some(after), .. } = deliver_one(&output, parcel(1, &Message::default())).await else {
            panic!("no rest")
        };
        rests.push(after);
        tokio::time::sleep(after).await;
    }
    assert!(rests[0] <= Duration::from_millis(500) && rests[1] > rests[0] && rests[2] > Duration::from_secs(1), "{rests:?}");
}

#[tokio::test]
async fn a_program_that_ends_well_is_started_again_at_once() {
    let folder = Folder::new();
    let script =
        r#"read -r line; id=${line#*'"delivery":"'}; printf '{"delivery":"%s","outcome":"delivered","detail":"%s"}\n' "${id%%'"'*}" $$"#;
    let output = connect(far::command(&["sh", "-c", script]), &folder, Duration::from_secs(20)).await;
    let mut pids = vec![];
    for number in 0..5 {
        let outcome = loop {
            // Between its answer and its end a line may still go into its pipe: that is down, never unknown, as nobody reads it.
            let outcome = deliver_one(&output, parcel(number, &Message::default())).await;
            assert!(["delivered", "down"].contains(&outcome.word()), "{outcome:?}");
            if outcome.word() == "delivered" {
                break outcome;
            }
        };
        pids.push(outcome.text().to_owned());
    }
    pids.dedup();
    assert_eq!(pids.len(), 5, "{pids:?}");
}

#[tokio::test]
async fn a_program_that_hangs_is_killed_with_all_that_it_started() {
    let folder = Folder::new();
    let output = connect(far::program(), &folder, Duration::from_secs(2)).await;
    delivered(&output, 1).await;
    let hung = folder.pid();
    let outcome = say(&output, 2, "answer", "not").await;
    assert!(outcome.word() == "unknown" && outcome.text().contains("said nothing for 1.8s"), "{outcome:?}");
    assert!(pid_is_gone(hung));
    assert_eq!(after_the_rest(&output, 3).await.word(), "delivered");
    let outcome = say(&output, 4, "child", "1").await;
    assert!(outcome.word() == "unknown" && outcome.text().contains("exit status: 3"), "{outcome:?}");
    let child = folder.read("child").trim().parse().unwrap();
    far::until(|| pid_is_gone(child)).await;
}

#[tokio::test]
async fn an_answer_for_another_delivery_is_told() {
    let folder = Folder::new();
    let output = connect(far::program(), &folder, Duration::from_secs(2)).await;
    let outcome = say(&output, 1, "stray", "1").await;
    assert!(outcome.word() == "unknown" && outcome.text().contains("`dlv_of_somebody_else`, which was not asked"), "{outcome:?}");
}

#[tokio::test]
async fn memory_and_cpu_time_are_bounded() {
    let folder = Folder::new();
    let config = Config {
        memory: Some(far::at(switchyard_api::Size(128 << 20))),
        cpu: Some(far::at(switchyard_api::Period::secs(1))),
        ..far::program()
    };
    let output = connect(config, &folder, Duration::from_secs(30)).await;
    let outcome = say(&output, 1, "eat", "500000000").await;
    assert!(outcome.word() == "unknown" && outcome.text().contains("MemoryError"), "{outcome:?}");
    assert_eq!(after_the_rest(&output, 2).await.word(), "delivered");
    let outcome = say(&output, 3, "spin", "1").await;
    assert!(outcome.word() == "unknown" && outcome.text().contains("SIGXCPU"), "{outcome:?}");
}

#[tokio::test]
async fn it_sees_the_environment_that_the_file_lists_and_nothing_else() {
    let folder = Folder::new();
    let output = stays(&folder).await;
    let outcome = say(&output, 1, "env", "1").await;
    let names: Vec<&str> = outcome.text().split(' ').filter(|name| !["LC_CTYPE", "PWD", "OLDPWD", "SHLVL", "_"].contains(name)).collect();
    assert_eq!(names, ["PATH", "SHOP_KEY"], "{outcome:?}");
}

#[tokio::test]
async fn what_cannot_be_run_is_misconfigured() {
    let folder = Folder::new();
    folder.write("plain", "no program");
    folder.write("bad.sh", "#!/no/such/interpreter\n");
    folder.make_executable("bad.sh");
    for (words, why) in
        [(&["no-such-program"][..], "no-such-program"), (&["./none"], "none"), (&["./plain"], "executable"), (&["./bad.sh"], "12")]
    {
        for mode in [Mode::Stay, Mode::Once] {
            let output = connect(Config { mode, ..far::command(words) }, &folder, Duration::from_secs(20)).await;
            let outcome = deliver_one(&output, parcel(1, &Message::default())).await;
            assert!(outcome.word() == "misconfigured" && outcome.text().contains(why), "{outcome:?}");
            assert!(words == ["./bad.sh"] && mode == Mode::Once || output.check().await.is_err(), "{words:?}");
        }
    }
    let config = Config { cwd: Some("none".into()), ..far::command(&["sh"]) };
    let outcome = deliver_one(&connect(config, &folder, Duration::from_secs(20)).await, parcel(1, &Message::default())).await;
    assert!(outcome.word() == "misconfigured" && outcome.text().contains("no folder"), "{outcome:?}");
}

#[tokio::test]
async fn paths_start_from_the_folder_of_the_file_wherever_the_daemon_was_started() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path().join("bin")).unwrap();
    folder.write("bin/here.sh", "#!/bin/sh\ncat > /dev/null\ntest -e program.py && pwd\n");
    folder.make_executable("bin/here.sh");
    let here = std::env::current_dir().unwrap();
    let from_here = format!("{}{}", "../".repeat(here.components().count() - 1), folder.path().strip_prefix("/").unwrap().display());
    let kit = |base: &str| Kit::new("shop", base, "switchyard/0", Wall::new(|| 0));
    let once = |words: &[&str]| Config { mode: Mode::Once, ..far::command(words) };
    let output = Exec.connect(once(&["bin/here.sh"]), &kit(&from_here)).await.unwrap();
    let outcome = deliver_one(&output, parcel(1, &Message::default())).await;
    assert_eq!(outcome, Outcome::Delivered { detail: folder.path().display().to_string() });
    // `switchyard run routes.yaml`: the folder of the file is written as nothing.
    let output = Exec.connect(once(&["pwd"]), &kit("")).await.unwrap();
    let outcome = deliver_one(&output, parcel(2, &Message::default())).await;
    assert_eq!(outcome, Outcome::Delivered { detail: here.display().to_string() });
}

#[tokio::test]
async fn a_late_answer_is_not_that_of_the_next_attempt() {
    let folder = Folder::new();
    let output = stays(&folder).await;
    folder.touch("hang");
    let first = parcel(1, &wish(&[("outcome", "rejected")]));
    let (settle, mut words) = Settle::channel();
    {
        let mut attempt = output.deliver(vec![first.clone()], &settle);
        tokio::select! {
            () = &mut attempt => panic!("nobody answered"),
            word = words.recv() => assert!(word.is_some()),
        }
    }
    let second = Parcel { attempt: 2, message: wish(&[]).into(), ..first };
    let again = deliver_one(&output, second);
    let release = async {
        tokio::task::yield_now().await;
        folder.remove("hang");
    };
    let (outcome, ()) = futures_util::future::join(again, release).await;
    assert_eq!(outcome.word(), "delivered", "{outcome:?}");
}

#[tokio::test]
async fn what_was_given_up_in_front_of_a_full_pipe_is_handed_over_no_more() {
    let folder = Folder::new();
    let output = connect(Config { max_batch: Some(far::at(3)), ..far::program() }, &folder, Duration::from_secs(20)).await;
    folder.touch("hang");
    let long = wish(&[("note", &"x".repeat(200_000))]);
    let (settle, mut words) = Settle::channel();
    {
        let mut attempt = output.deliver(vec![parcel(1, &plain()), parcel(2, &long), parcel(3, &plain())], &settle);
        let mut sent = 0;
        while sent < 3 {
            tokio::select! {
                () = &mut attempt => panic!("nobody answered"),
                word = words.recv() => sent += u32::from(word.is_some()),
            }
        }
        // It reads the first line and waits: the second one fills the pipe.
        let hung = tokio::time::timeout(Duration::from_secs(10), far::until(|| !folder.read("pid").is_empty()));
        tokio::select! {
            () = &mut attempt => panic!("nobody answered"),
            started = hung => started.unwrap(),
        }
    }
    folder.remove("hang");
    delivered(&output, 4).await;
    let arrived = folder.arrived();
    assert!(arrived.ends_with(&[parcel(4, &plain()).delivery]) && !arrived.contains(&parcel(3, &plain()).delivery), "{arrived:?}");
}

#[tokio::test]
async fn closing_lets_it_end_and_dropping_kills_it() {
    let folder = Folder::new();
    let output = stays(&folder).await;
    delivered(&output, 1).await;
    let pid = folder.pid();
    output.close().await;
    assert!(pid_is_gone(pid));
    let outcome = deliver_one(&output, parcel(2, &Message::default())).await;
    assert!(outcome.word() == "down" && outcome.text().contains("closed"), "{outcome:?}");

    let output = stays(&folder).await;
    delivered(&output, 3).await;
    let pid = folder.pid();
    drop(output);
    far::until(|| pid_is_gone(pid)).await;
}

#[tokio::test]
async fn a_one_shot_answers_by_its_exit_code() {
    let folder = Folder::new();
    let once = |script: &str| Config { mode: Mode::Once, ..far::command(&["sh", "-c", script]) };
    let cases = [
        ("cat >/dev/null; echo first; echo 'label 7'", "delivered", "label 7"),
        ("exit 0", "delivered", "done"),
        ("echo on stdout; exit 75", "retry", "on stdout"),
        ("echo 'no address' >&2; exit 65", "rejected", "no address"),
        ("exit 69", "down", "69"),
        ("exit 77", "misconfigured", "77"),
        ("no-such-command", "misconfigured", "not found"),
        ("exit 1", "retry", "exit status: 1"),
        ("kill -9 $$", "unknown", "SIGKILL"),
    ];
    for (script, word, text) in cases {
        let outcome = deliver_one(&connect(once(script), &folder, Duration::from_secs(20)).await, parcel(1, &Message::default())).await;
        assert!(outcome.word() == word && outcome.text().contains(text), "{script}: {outcome:?}");
    }
    let slow = connect(once("sleep 600 & echo $! > child; wait"), &folder, Duration::from_secs(1)).await;
    let outcome = deliver_one(&slow, parcel(1, &Message::default())).await;
    assert!(outcome.word() == "unknown" && outcome.text().contains("did not end within 900ms"), "{outcome:?}");
    let child = folder.read("child").trim().parse().unwrap();
    far::until(|| pid_is_gone(child)).await;
}
