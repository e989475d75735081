//! Ports and waiting for them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Where free ports are looked for: below those that the kernel gives to outgoing connections (`ip_local_port_range`, from 32768), so that no
/// connection takes one before its server listens, or while it is down.
const PORTS: std::ops::Range<u16> = 10_000..32_000;
/// How far the processes that run beside each other begin from each other.
const APART: u32 = 131;

/// A port of loopback that nobody listens on now, and that this process was not given before.
///
/// # Errors
/// None of the range is free.
pub fn free_port() -> std::io::Result<u16> {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let count = u32::from(PORTS.end - PORTS.start);
    for _ in 0..count {
        let nth = std::process::id().wrapping_mul(APART).wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % count;
        let Some(port) = u16::try_from(nth).ok().and_then(|nth| PORTS.start.checked_add(nth)) else { continue };
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(std::io::Error::new(std::io::ErrorKind::AddrInUse, format!("no free port among {PORTS:?}")))
}

/// [`free_port`] as an address.
///
/// # Errors
/// As there.
pub fn free_address() -> std::io::Result<SocketAddr> {
    Ok((Ipv4Addr::LOCALHOST, free_port()?).into())
}

/// Whether somebody listens there.
pub fn listens(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok()
}
