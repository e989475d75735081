//! A port in front of a server that takes long to start: many tests share the server, and each has a gate of its own to shut.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often a held gate looks whether it is open again.
const LOOK: Duration = Duration::from_millis(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Held,
    Shut,
}

#[derive(Debug)]
struct Inner {
    state: State,
    sockets: Vec<TcpStream>,
}

/// Passes bytes to a port of this machine.
#[derive(Debug)]
pub struct Gate {
    inner: Arc<Mutex<Inner>>,
    /// Where it listens.
    pub port: u16,
}

impl Gate {
    /// Opens one in front of a port.
    ///
    /// # Errors
    /// The system gives no port.
    pub fn to(server: u16) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let inner = Arc::new(Mutex::new(Inner { state: State::Open, sockets: vec![] }));
        let gate = Gate { inner: Arc::clone(&inner), port };
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if state(&inner) == State::Shut {
                    return;
                }
                if let Ok(client) = client {
                    pass(&inner, &client, server);
                }
            }
        });
        Ok(gate)
    }

    /// The server takes what comes, and its answers wait here.
    pub fn hold(&self) {
        self.set(State::Held);
    }

    /// Answers pass again.
    pub fn open(&self) {
        self.set(State::Open);
    }

    /// Ends all connections; new ones pass.
    pub fn cut(&self) {
        for socket in self.lock().sockets.drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Ends all connections and listens no more.
    pub fn shut(&self) {
        self.set(State::Shut);
        self.cut();
        // Wakes the thread that accepts, which then lets go of the port.
        let _ = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)));
        while crate::net::listens(self.port) {
            std::thread::sleep(LOOK);
        }
    }

    fn set(&self, state: State) {
        self.lock().state = state;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        if state(&self.inner) != State::Shut {
            self.shut();
        }
    }
}

fn state(inner: &Mutex<Inner>) -> State {
    inner.lock().unwrap_or_else(PoisonError::into_inner).state
}

fn pass(inner: &Arc<Mutex<Inner>>, client: &TcpStream, server: u16) {
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server)) else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let all = || Some((client.try_clone().ok()?, client.try_clone().ok()?, server.try_clone().ok()?, server.try_clone().ok()?));
    let (Some((c, to_client, s, to_server)), Ok(kept), Ok(kept_too)) = (all(), client.try_clone(), server.try_clone()) else { return };
    inner.lock().unwrap_or_else(PoisonError::into_inner).sockets.extend([kept, kept_too]);
    std::thread::spawn(move || copy(c, to_server, || {}));
    let inner = Arc::clone(inner);
    std::thread::spawn(move || {
        copy(s, to_client, || {
            while state(&inner) == State::Held {
                std::thread::sleep(LOOK);
            }
        });
    });
}

fn copy(mut from: TcpStream, mut to: TcpStream, before: impl Fn()) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count) = from.read(&mut buffer) {
        before();
        if count == 0 || to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
