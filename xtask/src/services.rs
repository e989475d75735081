//! `cargo xtask services`: installs the servers that tests speak to, and starts them for use by hand.

use anyhow::bail;
use clap::Subcommand;
use switchyard_services::{ALL, Service};

/// What to do with the servers.
#[derive(Subcommand)]
pub enum Command {
    /// Installs what they need; does nothing where that is there already.
    Install {
        /// Only these.
        names: Vec<String>,
    },
    /// Starts them on free ports, says where, and ends them when this program is ended (Enter or ctrl-C).
    Start {
        /// Only these.
        names: Vec<String>,
    },
    /// Their names.
    List,
}

/// Does it.
///
/// # Errors
/// Which server, and why.
pub fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::List => {
            for service in ALL {
                println!("{}", service.name);
            }
        }
        Command::Install { names } => {
            for service in chosen(names)? {
                (service.install)().map_err(|error| error.context(service.name))?;
                println!("{}: installed", service.name);
            }
        }
        Command::Start { names } => {
            let mut running = vec![];
            for service in chosen(names)? {
                let (server, lines) = (service.start)().map_err(|error| error.context(service.name))?;
                running.push(server);
                for line in lines {
                    println!("{}: {line}", service.name);
                }
            }
            println!("Enter ends them.");
            std::io::stdin().read_line(&mut String::new())?;
        }
    }
    Ok(())
}

fn chosen(names: &[String]) -> anyhow::Result<Vec<Service>> {
    if let Some(unknown) = names.iter().find(|name| !ALL.iter().any(|service| service.name == **name)) {
        let known: Vec<&str> = ALL.iter().map(|service| service.name).collect();
        bail!("no server `{unknown}`; there are {}", known.join(", "));
    }
    Ok(ALL.iter().filter(|service| names.is_empty() || names.iter().any(|name| name == service.name)).copied().collect())
}
