//! Room for connections: how many there are, in all and of each address, and who leaves when one comes too many.
//!
//! A connection that waits, for a request's head or for the rest of its body, can be asked to leave; one whose request is being kept or answered
//! can't. Who leaves first is of the address that has most connections, and there the one that waits longest: whoever opens thousands pushes out
//! its own, and a sender with one gets in.

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Bounds of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// At a time; who comes beyond it takes the place of one that only waits. Where none does, new ones wait in the system's queue.
    pub connections: usize,
    /// At a time of one address (of IPv6, one /64), trusted proxies apart; beyond it they are closed.
    pub per_address: usize,
}

impl Default for Caps {
    fn default() -> Self {
        Caps { connections: 1024, per_address: 256 }
    }
}

/// All connections of a listener.
pub(super) struct Room {
    caps: Caps,
    began: Instant,
    seats: Mutex<Seats>,
    /// Came too many while everybody worked: the first that is done leaves.
    owed: AtomicBool,
    /// Somebody left.
    left: Notify,
}

#[derive(Default)]
struct Seats {
    next: u64,
    taken: HashMap<u64, Arc<Seat>>,
    addresses: HashMap<IpAddr, usize>,
}

/// What a connection is at, as far as its place is concerned.
struct Seat {
    address: IpAddr,
    trusted: bool,
    at: AtomicU8,
    /// Since when it waits: microseconds after the room's begin.
    since: AtomicU64,
    leave: Notify,
}

/// Nothing came yet, or less than a whole request.
const WAITS: u8 = 0;
/// The request is there and is being kept.
const WORKS: u8 = 1;
/// It is answered, and the answer not yet sent.
const ANSWERED: u8 = 2;
/// It waited, and was asked to leave.
const LEAVES: u8 = 3;

/// A connection's place; free again when dropped.
pub(super) struct Place {
    room: Arc<Room>,
    number: u64,
    seat: Arc<Seat>,
}

impl Room {
    pub(super) fn new(caps: Caps) -> Arc<Self> {
        Arc::new(Room { caps, began: Instant::now(), seats: Mutex::default(), owed: AtomicBool::new(false), left: Notify::new() })
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        Instant::now().saturating_duration_since(self.began).as_micros() as u64
    }

    /// A place for a connection of this address; none where the address has its most. One too many asks another to leave; see [`Room::settled`].
    pub(super) fn enter(self: &Arc<Self>, peer: IpAddr, trusted: bool) -> Option<Place> {
        let address = neighbourhood(peer);
        let mut seats = self.seats();
        let here = seats.addresses.entry(address).or_default();
        if !trusted && *here >= self.caps.per_address {
            return None;
        }
        *here += 1;
        if seats.taken.len() >= self.caps.connections {
            self.owed.store(!seats.ask_one_to_leave(), Relaxed);
        }
        let seat = Seat { address, trusted, at: AtomicU8::new(WAITS), since: AtomicU64::new(self.now()), leave: Notify::new() };
        let (seat, number) = (Arc::new(seat), seats.next);
        seats.next += 1;
        seats.taken.insert(number, Arc::clone(&seat));
        drop(seats);
        Some(Place { room: Arc::clone(self), number, seat })
    }

    /// Waits until there are no more than the most.
    pub(super) async fn settled(&self) {
        loop {
            let left = self.left.notified();
            if !self.is_over() {
                return;
            }
            left.await;
        }
    }

    fn is_over(&self) -> bool {
        self.seats().taken.len() > self.caps.connections
    }
}

impl Seats {
    /// Who only waits, and of these one whose address has most connections, and of these the one that waits longest. Trusted proxies, who speak
    /// for many, come last. False where everybody works.
    fn ask_one_to_leave(&self) -> bool {
        let waiting = self.taken.iter().filter(|(_, seat)| seat.at.load(Relaxed) == WAITS);
        let first = waiting.min_by_key(|(number, seat)| {
            let neighbours = self.addresses.get(&seat.address).copied().unwrap_or_default();
            (seat.trusted, Reverse(neighbours), seat.since.load(Relaxed), **number)
        });
        let Some((_, seat)) = first else { return false };
        // One that began to work in this moment is asked all the same, and leaves when it has answered.
        let _ = seat.at.compare_exchange(WAITS, LEAVES, Relaxed, Relaxed);
        seat.leave.notify_one();
        true
    }
}

impl Place {
    /// Waits until this connection is asked to leave.
    pub(super) async fn asked_to_leave(&self) {
        self.seat.leave.notified().await;
    }

    /// Whether nothing is lost when it leaves now.
    pub(super) fn waits(&self) -> bool {
        matches!(self.seat.at.load(Relaxed), WAITS | LEAVES)
    }

    /// A request's body, which says when it has come to its end.
    pub(super) fn watch<B: Body>(&self, body: B) -> Watched<B> {
        if body.is_end_stream() {
            self.seat.at.store(WORKS, Relaxed);
        }
        Watched { body, seat: Arc::clone(&self.seat) }
    }

    /// The request is answered; the answer is yet to be sent.
    pub(super) fn answered(&self) {
        self.seat.at.store(ANSWERED, Relaxed);
    }

    /// All that was written is sent.
    pub(super) fn sent(&self) {
        if self.seat.at.load(Relaxed) == ANSWERED {
            self.seat.since.store(self.room.now(), Relaxed);
            self.seat.at.store(WAITS, Relaxed);
            if self.room.owed.swap(false, Relaxed) && self.room.is_over() {
                self.seat.leave.notify_one();
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut seats = self.room.seats();
        seats.taken.remove(&self.number);
        if let Some(here) = seats.addresses.get_mut(&self.seat.address) {
            *here -= 1;
            if *here == 0 {
                seats.addresses.remove(&self.seat.address);
            }
        }
        drop(seats);
        self.room.left.notify_waiters();
    }
}

/// A body that says when it has come to its end.
pub(super) struct Watched<B> {
    body: B,
    seat: Arc<Seat>,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Watched<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_none() {
            self.seat.at.store(WORKS, Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An address as it is counted: who has one of IPv6 has its whole /64.
fn neighbourhood(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use http_body_util::{Empty, Full};
    use std::time::Duration;

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    /// Which of these are asked to leave.
    fn leaving(places: &[&Place]) -> Vec<usize> {
        let leaves = |(_, place): &(usize, &&Place)| place.seat.at.load(Relaxed) == LEAVES;
        places.iter().enumerate().filter(leaves).map(|(nth, _)| nth).collect()
    }

    #[test]
    fn an_ipv6_neighbourhood_counts_as_one_address() {
        let same = |a: &str, b: &str| neighbourhood(a.parse().unwrap()) == neighbourhood(b.parse().unwrap());
        assert!(same("2001:db8::1", "2001:db8::ffff:1:2:3") && !same("2001:db8::1", "2001:db8:0:1::1"));
        assert!(same("::ffff:192.0.2.1", "192.0.2.1") && !same("192.0.2.1", "192.0.2.2"));
    }

    #[tokio::test(start_paused = true)]
    async fn of_the_most_crowded_address_the_one_that_waits_longest_leaves() {
        let room = Room::new(Caps { connections: 5, per_address: 3 });
        let mut places = vec![];
        for last in [1, 2, 3, 2, 2] {
            places.push(room.enter(address(last), false).unwrap());
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        let [one, two, three, four, five] = <[Place; 5]>::try_from(places).ok().unwrap();
        let all = [&one, &two, &three, &four, &five];
        assert!(room.enter(address(2), false).is_none(), "an address has its most");
        assert!(leaving(&all).is_empty());
        let _sixth = room.enter(address(4), false).unwrap();
        assert_eq!(leaving(&all), [1]);
        // What works stays, and so does who is crowded no more.
        drop(two.watch(Empty::<Bytes>::new()));
        drop(four.watch(Empty::<Bytes>::new()));
        let _seventh = room.enter(address(5), false).unwrap();
        assert_eq!(leaving(&all), [4]);
        let _eighth = room.enter(address(6), false).unwrap();
        assert_eq!(leaving(&all), [0, 4]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_proxy_leaves_last() {
        let room = Room::new(Caps { connections: 3, per_address: 1 });
        let proxy = [room.enter(address(1), true).unwrap(), room.enter(address(1), true).unwrap()];
        let other = room.enter(address(2), false).unwrap();
        let next = room.enter(address(3), false).unwrap();
        assert_eq!(leaving(&[&proxy[0], &proxy[1], &other]), [2]);
        drop((other, next));
        let last = [room.enter(address(1), true).unwrap(), room.enter(address(1), true).unwrap()];
        assert_eq!(leaving(&[&proxy[0], &proxy[1], &last[0], &last[1]]), [0], "if nobody else is there");
    }

    #[tokio::test]
    async fn a_request_works_from_its_last_byte_on_until_its_answer_is_sent() {
        let room = Room::new(Caps { connections: 1, per_address: 9 });
        let place = room.enter(address(1), false).unwrap();
        let mut body = place.watch(Full::new(Bytes::from_static(b"x")));
        assert!(place.waits());
        while std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await.is_some() {}
        assert!(!place.waits());
        let late = room.enter(address(2), false).unwrap();
        assert!(leaving(&[&place]).is_empty());
        place.sent();
        assert!(!place.waits(), "something else was sent");
        place.answered();
        assert!(!place.waits());
        place.sent();
        assert!(place.waits());
        // One too many waits for the first that works no more.
        place.asked_to_leave().await;
        // And for no other: the room is full for a moment whenever one takes another's place.
        let bystander = room.enter(address(3), false).unwrap();
        drop(bystander.watch(Empty::<Bytes>::new()));
        bystander.answered();
        bystander.sent();
        assert!(bystander.asked_to_leave().now_or_never().is_none());
        drop(bystander);
        let settled = room.settled();
        drop(place);
        settled.await;
        drop(late);
    }
}
