//! `idle`: what a connection costs that only waits.

use crate::process::rss_kib;
use crate::wire::{Target, status};
use anyhow::Context;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// How many, to whom.
#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    target: Target,
    /// Connections to hold; needs `ulimit -n` above it, here and at the server.
    #[arg(long, default_value_t = 1000)]
    connections: u64,
    /// The server's process.
    #[arg(long)]
    pid: u32,
}

/// Runs to the end.
pub fn run(options: &Options) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(hold(options))
}

async fn hold(options: &Options) -> anyhow::Result<()> {
    let (address, mut request) = (options.target.address()?, options.target.prebuild()?);
    let before = rss_kib(options.pid)?;
    let (mut held, mut buffer, first_id) = (vec![], vec![], crate::clock::now_ns());
    for number in 0..options.connections {
        let mut stream = TcpStream::connect(&address).await.with_context(|| format!("connection {number}: is ulimit -n high enough?"))?;
        stream.write_all(request.fill(first_id + number)).await?;
        status(&mut stream, &mut buffer).await?;
        held.push(stream);
    }
    // The server frees what the last requests used.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let after = rss_kib(options.pid)?;
    let each = after.saturating_sub(before) as f64 / options.connections as f64;
    println!(r#"{{"connections":{},"rss_before_kib":{before},"rss_after_kib":{after},"kib_each":{each:.2}}}"#, options.connections);
    Ok(())
}
