//! Programs to deliver to, each in a folder of one test.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use switchyard_api::conformance::{FarSide, Refused};
use switchyard_api::{At, Kind, Kit, Message, Output, Rendered, Secret, Span, Wall};
use switchyard_exec::{Config, Exec, ExecOutput, Mode};

pub const SECRET: &str = "hush-hush-4711";
const WRONG: &str = "wrong-wrong-0815";
const PROGRAM: &str = include_str!("program.py");

pub fn at<T>(value: T) -> At<T> {
    At { span: Span::default(), value }
}

pub fn command(words: &[&str]) -> Config {
    let words = words.iter().map(|word| at(Secret::new(*word))).collect();
    Config {
        command: at(words),
        mode: Mode::Stay,
        env: [("SHOP_KEY".to_owned(), at(Secret::new(SECRET)))].into(),
        cwd: None,
        memory: None,
        cpu: None,
        max_batch: None,
        hidden: vec![],
    }
}

/// The program that every folder holds.
pub fn program() -> Config {
    command(&["python3", "program.py"])
}

fn with_wrong_key(config: Config) -> Config {
    Config { env: [("SHOP_KEY".to_owned(), at(Secret::new(WRONG)))].into(), ..config }
}

pub async fn connect(config: Config, folder: &Folder, timeout: Duration) -> ExecOutput {
    assert_eq!(Exec.validate(&config), []);
    let kit = Kit { timeout, ..Kit::new("shop", folder.path(), "switchyard/0", Wall::new(|| 0)) };
    Exec.connect(config, &kit).await.unwrap()
}

/// What the program is asked to do.
pub fn wish(what: &[(&str, &str)]) -> Message {
    let fields = what.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Message { fields: [("message".to_owned(), Rendered::Map(fields))].into(), ..Message::default() }
}

/// Where a program of a test runs.
pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn new() -> Self {
        let folder = Folder(tempfile::tempdir().unwrap());
        folder.write("program.py", PROGRAM);
        folder
    }
    pub fn path(&self) -> &Path {
        self.0.path()
    }
    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).unwrap();
    }
    pub fn make_executable(&self, name: &str) {
        std::fs::set_permissions(self.path().join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    pub fn touch(&self, name: &str) {
        self.write(name, "");
    }
    pub fn remove(&self, name: &str) {
        match std::fs::remove_file(self.path().join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{name}: {error}"),
            _ => {}
        }
    }
    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).unwrap_or_default()
    }
    pub fn arrived(&self) -> Vec<String> {
        self.read("arrived").lines().map(str::to_owned).collect()
    }
    pub fn pid(&self) -> u32 {
        self.read("pid").parse().unwrap()
    }
}

/// Gone, or dead and only not yet reaped by whoever inherited it.
pub fn pid_is_gone(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return true };
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'))
}

/// Waits until it is so.
pub async fn until(mut so: impl FnMut() -> bool) {
    while !so() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A Python program that stays.
pub struct Stays(Folder);

impl FarSide for Stays {
    async fn start() -> Self {
        Stays(Folder::new())
    }
    async fn output(&self) -> Arc<dyn Output> {
        let config = Config { max_batch: Some(at(100)), ..program() };
        Arc::new(connect(config, &self.0, Duration::from_secs(20)).await)
    }
    async fn arrived(&self) -> Vec<String> {
        self.0.arrived()
    }
    /// Dies, and dies again whenever it is started: what it speaks to is not there.
    async fn leave(&mut self) -> bool {
        self.0.touch("gone");
        if let Ok(pid) = self.0.read("pid").parse() {
            let pid: i32 = pid;
            rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL).unwrap();
            until(|| pid_is_gone(pid as u32)).await;
        }
        true
    }
    async fn refused(&self) -> Option<Refused> {
        let output = connect(with_wrong_key(program()), &self.0, Duration::from_secs(20)).await;
        Some(Refused { output: Arc::new(output), secret: WRONG.into() })
    }
    fn be_busy(&mut self) -> Option<Duration> {
        self.0.touch("busy");
        Some(Duration::from_secs(30))
    }
    fn lose_answers(&mut self) -> bool {
        self.0.touch("lost");
        true
    }
    fn hang(&mut self) -> bool {
        self.0.touch("hang");
        true
    }
    fn answer(&mut self) {
        for name in ["hang", "busy", "lost"] {
            self.0.remove(name);
        }
    }
    fn poison(&self) -> Option<Message> {
        Some(wish(&[("poison", "1")]))
    }
    async fn shown(&self) -> (String, Vec<String>) {
        let config = program();
        let output = connect(config.clone(), &self.0, Duration::from_secs(20)).await;
        (format!("{config:?} {output:?}"), vec![SECRET.to_owned()])
    }
}

/// A shell program for each delivery.
pub struct Once(Folder);

const ONCE: &str = r#"read -r line
case $line in *'"poison"'*) echo 'no such article' >&2; exit 65;; esac
while [ -e hang ]; do sleep 0.01; done
id=${line#*'"delivery":"'}
echo "${id%%'"'*}" >> arrived
[ ! -e lost ] || kill -9 $$
"#;

impl Once {
    fn config() -> Config {
        Config { mode: Mode::Once, ..command(&["sh", "once.sh"]) }
    }
}

impl FarSide for Once {
    async fn start() -> Self {
        let folder = Folder::new();
        folder.write("once.sh", ONCE);
        Once(folder)
    }
    async fn output(&self) -> Arc<dyn Output> {
        Arc::new(connect(Once::config(), &self.0, Duration::from_secs(20)).await)
    }
    async fn arrived(&self) -> Vec<String> {
        self.0.arrived()
    }
    /// Killed right after it did it: nobody knows.
    fn lose_answers(&mut self) -> bool {
        self.0.touch("lost");
        true
    }
    async fn leave(&mut self) -> bool {
        false // it is there at each delivery, or it is not there at all: tried in `real.rs`
    }
    fn hang(&mut self) -> bool {
        self.0.touch("hang");
        true
    }
    fn answer(&mut self) {
        self.0.remove("hang");
        self.0.remove("lost");
    }
    fn poison(&self) -> Option<Message> {
        Some(wish(&[("poison", "1")]))
    }
    async fn shown(&self) -> (String, Vec<String>) {
        let output = connect(Once::config(), &self.0, Duration::from_secs(20)).await;
        (format!("{:?} {output:?}", Once::config()), vec![SECRET.to_owned()])
    }
}
