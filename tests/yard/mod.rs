//! A yard to try the daemon in: the real binary in a folder of its own, far sides that behave as told, and waiting for conditions.
#![allow(dead_code, unused_imports, missing_docs, clippy::disallowed_methods, clippy::unwrap_used, clippy::assigning_clones)] // shared by several test programs, each of which uses a part

pub mod far_side;
pub mod http;

pub use far_side::{Behaviour, FarSide};

use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

pub const SECRET: &str = "made-up-shop-secret";
/// Long enough for a loaded machine; a test that waits this long has failed.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// A folder with a routes.yaml and, when started, a daemon.
pub struct Yard {
    pub folder: tempfile::TempDir,
    pub env: Vec<(String, String)>,
    daemon: Option<Daemon>,
}

pub struct Daemon {
    /// Its process; none where the test's own runs it.
    child: Option<Child>,
    pub events: String,
    pub admin: String,
    pub token: String,
}

impl Yard {
    /// Writes a file whose `server`, `journal` and `sources` are usual, and whose rest is given.
    pub fn new(rest: &str) -> Self {
        let yard = Yard { folder: tempfile::tempdir().unwrap(), env: vec![], daemon: None };
        yard.write(rest);
        yard
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    pub fn write(&self, rest: &str) {
        self.write_whole(&format!("{}{rest}", usual()));
    }

    pub fn write_whole(&self, text: &str) {
        let new = self.path("routes.yaml.new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.path("routes.yaml")).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts the daemon and waits until it takes events.
    pub fn start(mut self) -> Self {
        self.run();
        self
    }

    pub fn run(&mut self) {
        let _ = std::fs::remove_file(self.path("data/admin.json"));
        let log = std::fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        let child =
            self.command(&["run", "routes.yaml"]).stdout(log.try_clone().unwrap()).stderr(log).stdin(Stdio::null()).spawn().unwrap();
        self.meet(Some(child));
    }

    /// Finds a daemon that was started in this folder, and waits until it takes events.
    pub fn meet(&mut self, child: Option<Child>) {
        let mut daemon = Daemon { child, events: String::new(), admin: String::new(), token: String::new() };
        let door = self.path("data/admin.json");
        let log = self.path("log");
        wait_for("the daemon to start", || {
            if let Some(status) = daemon.child.as_mut().and_then(|child| child.try_wait().unwrap()) {
                panic!("the daemon ended with {status}:\n{}", std::fs::read_to_string(&log).unwrap_or_default());
            }
            let Ok(text) = std::fs::read_to_string(&door) else { return false };
            let said: Value = serde_json::from_str(&text).unwrap();
            daemon.admin = said["address"].as_str().unwrap().to_owned();
            daemon.token = said["token"].as_str().unwrap().to_owned();
            let Ok(ready) = http::request(&daemon.admin, "GET", "/ready", &[], b"") else { return false };
            let said: Value = serde_json::from_slice(&ready.body).unwrap_or_default();
            daemon.events = said["events"].as_str().unwrap_or_default().to_owned();
            ready.status == 200
        });
        self.daemon = Some(daemon);
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_switchyard"));
        command.args(args).current_dir(self.folder.path()).env("SHOP_SECRET", SECRET);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a command line; its output.
    pub fn cli(&self, args: &[&str]) -> Output {
        self.command(args).stdin(Stdio::null()).output().unwrap()
    }

    /// Runs a command line that prints JSON lines.
    pub fn json(&self, args: &[&str]) -> Vec<Value> {
        let output = self.cli(&[args, &["--json"]].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|why| panic!("{why} in: {line}"))).collect()
    }

    pub fn daemon(&self) -> &Daemon {
        self.daemon.as_ref().expect("the daemon runs")
    }

    /// Posts a signed event of the source `shop`; the id it was kept under.
    pub fn post(&self, topic: &str, body: &str) -> String {
        let answer = self.post_raw(topic, body.as_bytes(), &sign(body.as_bytes()), &[]);
        assert_eq!(answer.status, 200, "{}\n{}", String::from_utf8_lossy(&answer.body), self.log());
        answer.json()["event"].as_str().unwrap().to_owned()
    }

    pub fn post_raw(&self, topic: &str, body: &[u8], signature: &str, more: &[(&str, &str)]) -> http::Answer {
        let headers = [&[("x-shop-topic", topic), ("x-shop-signature", signature), ("content-type", "application/json")], more].concat();
        http::request(&self.daemon().events, "POST", "/shop", &headers, body).unwrap()
    }

    pub fn admin(&self, method: &str, path: &str, body: &str) -> http::Answer {
        let daemon = self.daemon();
        let token = format!("Bearer {}", daemon.token);
        http::request(&daemon.admin, method, path, &[("authorization", &token), ("content-type", "application/json")], body.as_bytes())
            .unwrap()
    }

    /// The deliveries of an event, as the admin side says.
    pub fn deliveries(&self, event: &str) -> Vec<Value> {
        self.admin("GET", &format!("/api/events/{event}"), "").json()["deliveries"].as_array().cloned().unwrap_or_default()
    }

    /// Waits until a delivery of the event to the output has the state; that delivery.
    pub fn wait_state(&self, event: &str, output: &str, state: &str) -> Value {
        let mut found = Value::Null;
        let mut seen = vec![];
        wait_until(
            || {
                seen = self.deliveries(event);
                let fits = |d: &&Value| d["output"] == output && d["state"] == state;
                found = seen.iter().find(fits).cloned().unwrap_or_default();
                !found.is_null()
            },
            || format!("{event} to be {state} at {output}; its deliveries: {:?}\n{}", self.deliveries(event), self.log()),
        );
        found
    }

    /// SIGKILL: nothing is said, nothing is flushed.
    pub fn kill(&mut self) {
        let mut child = self.process();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// The daemon's process, which is not the yard's to end any more.
    fn process(&mut self) -> Child {
        self.daemon.take().and_then(|daemon| daemon.child).expect("the daemon runs in a process of its own")
    }

    pub fn signal(&self, name: &str) {
        let pid = self.daemon().child.as_ref().expect("the daemon runs in a process of its own").id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// Waits for the daemon to end; its exit code.
    pub fn ended(&mut self) -> Option<i32> {
        let mut child = self.process();
        let mut code = None;
        wait_for("the daemon to end", || match child.try_wait().unwrap() {
            Some(status) => {
                code = status.code();
                true
            }
            None => false,
        });
        code
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

impl Drop for Yard {
    fn drop(&mut self) {
        if let Some(child) = self.daemon.as_mut().and_then(|daemon| daemon.child.as_mut()) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What every file of these tests begins with.
pub fn usual() -> String {
    "server: { listen: 127.0.0.1:0, admin: { listen: 127.0.0.1:0 } }
journal: { url: sqlite:data/journal.db }
sources:
  shop:
    verify: { hmac: sha256, header: X-Shop-Signature, encoding: hex }
    secret: \"${SHOP_SECRET}\"
    topic: { header: X-Shop-Topic }
    believe: [topic]
"
    .to_owned()
}

pub fn sign(body: &[u8]) -> String {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}

pub fn wait_for(what: &str, done: impl FnMut() -> bool) {
    wait_until(done, || what.to_owned());
}

pub fn wait_until(mut done: impl FnMut() -> bool, what: impl Fn() -> String) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "waited in vain for {}", what());
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
