//! An S3 server: S3Proxy over a folder, fetched once with Maven. It checks signatures, and refuses to write over an object when asked to.
//!
//! The jars lie in `target/services/s3proxy/VERSION/libs`; `cargo xtask services install s3` puts them there. A bucket is a folder, an
//! object a file. Its keys are made up. Never: listens beyond loopback.

use crate::{Guarded, Service, install, net};
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// The release that is fetched.
pub const VERSION: &str = "4.1.0";
/// The libraries it takes that name no version of their own, in one that fits.
const JACKSON: &str = "3.2.2";
/// The key's id and the key.
pub const KEYS: (&str, &str) = ("made-up-access-key", "made-up-secret-key");
/// A Java process on a busy machine.
const READY_MAX: Duration = Duration::from_secs(90);

/// As `cargo xtask services` knows it.
pub const SERVICE: Service = Service {
    name: "s3",
    install,
    start: || {
        let server = S3Proxy::start()?;
        server.make_bucket("acme")?;
        let line = format!(
            "{} bucket acme, access_key {} secret_key {}, objects in {}",
            server.url(),
            KEYS.0,
            KEYS.1,
            server.folder("acme").display()
        );
        Ok((Box::new(server), vec![line]))
    },
};

fn install() -> anyhow::Result<()> {
    crate::readers::install()?;
    install::jars(&format!("S3Proxy {VERSION}"), &pom(), &libs())
}

fn pom() -> String {
    let own = format!("<dependency><groupId>org.gaul</groupId><artifactId>s3proxy</artifactId><version>{VERSION}</version></dependency>");
    let jackson = format!(
        "<dependency><groupId>tools.jackson</groupId><artifactId>jackson-bom</artifactId><version>{JACKSON}</version><type>pom</type>\
         <scope>import</scope></dependency>"
    );
    format!(
        r#"<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion><groupId>switchyard</groupId>
<artifactId>s3</artifactId><version>1</version><packaging>pom</packaging>
<dependencyManagement><dependencies>{jackson}</dependencies></dependencyManagement><dependencies>{own}</dependencies></project>"#
    )
}

fn libs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/services/s3proxy").join(VERSION).join("libs")
}

const LOGS: &str = r#"<configuration><appender name="all" class="ch.qos.logback.core.ConsoleAppender"><encoder>
<pattern>%level %logger{0} %msg%n</pattern></encoder></appender><root level="warn"><appender-ref ref="all"/></root></configuration>"#;

/// A server that runs.
#[derive(Debug)]
pub struct S3Proxy {
    server: Option<Guarded>,
    folder: TempDir,
    port: u16,
}

impl S3Proxy {
    /// Starts one without buckets.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    pub fn start() -> anyhow::Result<Self> {
        let mut proxy = S3Proxy { server: None, folder: TempDir::with_prefix("s3-")?, port: net::free_port()? };
        let folder = proxy.folder.path();
        std::fs::create_dir(folder.join("buckets"))?;
        std::fs::write(folder.join("logback.xml"), LOGS)?;
        let settings = format!(
            "s3proxy.authorization=aws-v2-or-v4\ns3proxy.identity={}\ns3proxy.credential={}\ns3proxy.endpoint={}\n\
             jclouds.provider=filesystem-nio2\njclouds.filesystem.basedir={}\n",
            KEYS.0,
            KEYS.1,
            proxy.url(),
            folder.join("buckets").display()
        );
        std::fs::write(folder.join("s3proxy.properties"), settings)?;
        proxy.up()?;
        Ok(proxy)
    }

    /// Starts it again on the same port after [`down`](Self::down).
    ///
    /// # Errors
    /// It does not start.
    pub fn up(&mut self) -> anyhow::Result<()> {
        let libs = libs();
        if !libs.is_dir() {
            bail!("S3Proxy {VERSION} is not fetched; run `cargo xtask services install s3`");
        }
        let mut command = Command::new(install::program("java", &[])?);
        command.args(["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"]);
        command.arg(format!("-Dlogback.configurationFile={}", self.folder.path().join("logback.xml").display()));
        command.arg("-cp").arg(libs.join("*")).arg("org.gaul.s3proxy.Main").arg("--properties");
        command.arg(self.folder.path().join("s3proxy.properties"));
        let server = self.server.insert(Guarded::start(&command, &self.folder.path().join("log"))?);
        let port = self.port;
        server.wait(READY_MAX, || net::listens(port).then_some(()))
    }

    /// Ends it as an operator would.
    pub fn down(&mut self) {
        self.server = None;
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Makes a bucket.
    ///
    /// # Errors
    /// There is one of that name.
    pub fn make_bucket(&self, bucket: &str) -> anyhow::Result<()> {
        std::fs::create_dir(self.folder(bucket)).with_context(|| bucket.to_owned())
    }

    /// Where the bucket's objects lie as files.
    pub fn folder(&self, bucket: &str) -> PathBuf {
        self.folder.path().join("buckets").join(bucket)
    }

    /// Name and bytes of each object, as Amazon's own client reads them.
    ///
    /// # Errors
    /// It cannot.
    pub fn read(&self, bucket: &str) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
        crate::readers::read(&["s3", &self.url(), KEYS.0, KEYS.1, bucket])
    }
}
