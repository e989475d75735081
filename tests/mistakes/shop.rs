//! A folder with what the files of the tests name, an environment with what they take from there, and the program run in it.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, LazyLock};
use switchyard::config;
use switchyard::daemon::{blueprint, hidden};
use switchyard_api::AnyKind;
use tempfile::TempDir;

/// What the environment holds. Made up, and never to be seen in an answer.
pub const ENVIRONMENT: [(&str, &str); 13] = [
    ("ADMIN_TOKEN", "hush-admin-token"),
    ("SHOP_SECRET", "hush-shop-secret"),
    ("PARTNER_SECRET", "hush-partner-secret"),
    ("INTERNAL_TOKEN", "hush-internal-token"),
    ("OFFICE_PASSWORD", "hush-office-password"),
    ("SLACK_URL", "https://hooks.slack.com/services/T0/B0/hush-slack"),
    ("SHIPPER_TOKEN", "hush-shipper-token"),
    ("SHIPPER_SIGNING", "whsec_aHVzaC1odXNoLWh1c2gtaHVzaC1odXNoISEh"),
    ("SIGNING", "whsec_aHVzaC1odXNoLWh1c2gtaHVzaC1odXNoISEi"),
    ("TOKEN", "hush-any-token"),
    ("EMPTY_ONE", ""),
    ("VAULT_KEY", "aHVzaC1odXNoLWh1c2gtaHVzaC1odXNoLWh1c2gtISE="),
    ("PUBLIC_KEY", "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="),
];

/// The folder.
#[derive(Debug)]
pub struct Shop(TempDir);

impl Shop {
    /// With `cert.pem`, `cert.key` and `shop.secret` in it.
    pub fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let certificate = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        std::fs::write(folder.path().join("cert.pem"), certificate.cert.pem()).unwrap();
        std::fs::write(folder.path().join("cert.key"), certificate.signing_key.serialize_pem()).unwrap();
        std::fs::write(folder.path().join("shop.secret"), "hush-secret-in-a-file").unwrap();
        Shop(folder)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A command of the program, in the folder and with the environment alone.
    pub fn command(&self, name: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_switchyard"));
        command.arg(name).current_dir(self.path()).envs(ENVIRONMENT);
        command
    }

    /// Runs one.
    pub fn run(&self, name: &str, arguments: &[&str]) -> Output {
        self.command(name).args(arguments).output().unwrap()
    }

    /// What `check` says of this text, as JSON and as text, but for what it finds in other files: without starting the program, which costs more.
    pub fn report(&self, text: &str) -> (serde_json::Value, String) {
        static KINDS: LazyLock<Vec<Arc<dyn AnyKind>>> = LazyLock::new(switchyard_plugins::kinds);
        let read = config::from_text("routes.yaml", text, self);
        let drawn = blueprint::draw(&read, &KINDS);
        let hidden = read.tree.as_ref().map(|tree| hidden::literal_secrets(tree, &KINDS)).unwrap_or_default();
        let report = config::Report { file: &read, problems: &drawn.problems, hidden: &hidden };
        (report.json(), report.text(false))
    }

    /// `check` of this text.
    pub fn check(&self, text: &str, more: &[&str]) -> Output {
        std::fs::write(self.path().join("routes.yaml"), text).unwrap();
        self.run("check", more)
    }
}

impl switchyard::config::Environment for Shop {
    fn var(&self, name: &str) -> Option<String> {
        ENVIRONMENT.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    }
    fn file(&self, path: &str) -> std::io::Result<String> {
        std::fs::read_to_string(self.path().join(path))
    }
    fn names(&self) -> Vec<String> {
        ENVIRONMENT.iter().map(|(name, _)| (*name).to_owned()).collect()
    }
}
