//! nginx: a web server of another make, with TLS, HTTP/2, client certificates and gzip.

use crate::Service;
use crate::{Guarded, install, net};
use anyhow::Context;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// A server that answers 200 to everything and writes a line a request.
#[derive(Debug)]
pub struct Nginx {
    server: Guarded,
    port: u16,
    folder: TempDir,
}

/// How it is set up. Paths are PEM files.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Certificate and key; without them there is no TLS.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Who signs the client certificates that it asks for.
    pub client_ca: Option<PathBuf>,
    /// Whether it offers HTTP/2.
    pub http2: bool,
    /// Requests after which it closes a connection.
    pub requests_a_connection: usize,
    /// What it answers, as text.
    pub says: String,
}

/// For `cargo xtask services`.
pub const SERVICE: Service = Service {
    name: "nginx",
    install: Nginx::install,
    start: || {
        let server = Nginx::start(&Settings { says: "ok".into(), ..Settings::default() })?;
        let lines = vec![format!("http://127.0.0.1:{}", server.port())];
        Ok((Box::new(server), lines))
    },
};

impl Nginx {
    /// Installs what it needs.
    ///
    /// # Errors
    /// See [`install::packages`].
    pub fn install() -> anyhow::Result<()> {
        install::packages(&["nginx-light"])
    }

    /// Starts one on a free port of loopback.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    pub fn start(settings: &Settings) -> anyhow::Result<Self> {
        Self::install()?;
        let folder = tempfile::tempdir()?;
        let port = net::free_port()?;
        std::fs::write(folder.path().join("nginx.conf"), configuration(folder.path(), port, settings))?;
        std::fs::create_dir_all(folder.path().join("says"))?;
        std::fs::write(folder.path().join("says/index.txt"), &settings.says)?;
        let mut command = Command::new(install::program("nginx", &[])?);
        command.arg("-p").arg(folder.path()).arg("-c").arg(folder.path().join("nginx.conf")).arg("-e").arg(folder.path().join("error.log"));
        let mut server = Guarded::start(&command, &folder.path().join("log"))?;
        server.wait(Duration::from_secs(20), || net::listens(port).then_some(()))?;
        Ok(Nginx { server, port, folder })
    }

    /// Where it listens, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A line a request that it answered: method, path, protocol, status, the client certificate's name.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn requests(&self) -> anyhow::Result<Vec<String>> {
        let path = self.folder.path().join("access.log");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Ends it as an operator would.
    pub fn stop(&mut self) {
        self.server.stop();
    }
}

fn configuration(folder: &Path, port: u16, settings: &Settings) -> String {
    let folder = folder.display();
    let two = if settings.http2 { " http2" } else { "" };
    let tls = settings
        .identity
        .as_ref()
        .map_or(String::new(), |(cert, key)| format!("ssl_certificate {}; ssl_certificate_key {};", cert.display(), key.display()));
    let ssl = if tls.is_empty() { "" } else { " ssl" };
    let client =
        settings.client_ca.as_ref().map_or(String::new(), |ca| format!("ssl_verify_client on; ssl_client_certificate {};", ca.display()));
    let most = if settings.requests_a_connection == 0 { 1000 } else { settings.requests_a_connection };
    // `error_page` turns the 405 of a file that is posted to into its content.
    format!(
        "daemon off; master_process off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
  log_format line '$request $status $ssl_client_s_dn';
  access_log {folder}/access.log line;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  gzip on; gzip_min_length 1; gzip_types text/plain; default_type text/plain;
  keepalive_requests {most};
  server {{
    listen 127.0.0.1:{port}{ssl}{two};
    {tls} {client}
    root {folder}/says;
    location / {{ error_page 405 =200 /index.txt; try_files /index.txt =404; }}
  }}
}}
"
    )
}
