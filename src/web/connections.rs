//! The connections of clients: how many there are, what each is doing, and which must go.
//!
//! A connection that waits for a request, or that does not take its answer, is cut off after a
//! while. When there are too many, the oldest one on which nobody has proved who they are makes
//! room for the newest, so whoever opens many closes their own.

mod stream;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::{Future, poll_fn};
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Poll;
use std::time::{Duration, Instant};

use actix_web::HttpRequest;
use futures_util::task::AtomicWaker;
use ipnet::IpNet;

use crate::web::address;
use crate::web::body::budget::Sender;

pub use stream::Stream;

/// How long a connection may be open without a request that is being answered: longer than an
/// idle connection is kept and a head may take.
const WAITING: Duration = Duration::from_secs(15);
/// How often connections are looked over.
const ROUND: Duration = Duration::from_secs(1);
/// Descriptors that are left for the database, files and the like.
const OTHER_DESCRIPTORS: u64 = 128;
/// Most connections of a process, however many descriptors it may open.
const MOST: u64 = 4096;

/// How many connections there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// In all.
    pub total: usize,
    /// On which nobody has proved who they are.
    pub strangers: usize,
    /// Of these, from one address (with IPv6, from one /64 network).
    pub per_address: usize,
    /// With one key or person, before more of theirs are treated as strangers'.
    pub per_sender: usize,
}

impl Limits {
    /// What fits into so many descriptors, where each request may need another one for the
    /// upstream.
    pub fn of_descriptors(descriptors: u64) -> Limits {
        let total = (descriptors.saturating_sub(OTHER_DESCRIPTORS) / 2).clamp(64, MOST) as usize;
        Limits { total, strangers: total / 4, per_address: total / 8, per_sender: total / 2 }
    }
}

/// All connections of the process.
pub struct Connections {
    started: Instant,
    limits: Limits,
    trusted: Vec<IpNet>,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    next: u64,
    all: BTreeMap<u64, Arc<Connection>>,
    strangers: BTreeSet<u64>,
    by_address: HashMap<IpAddr, BTreeSet<u64>>,
    by_sender: HashMap<Sender, usize>,
}

/// One connection.
pub struct Connection {
    all: Weak<Connections>,
    started: Instant,
    number: u64,
    /// Whose it is until someone proves who they are; nothing for trusted proxies.
    address: Option<IpAddr>,
    proved: AtomicBool,
    sender: Mutex<Option<Sender>>,
    /// Requests that are being answered.
    open: AtomicUsize,
    /// Since when none is, in milliseconds after the start; 0 while one is.
    waiting_since: AtomicU64,
    /// Until when the client has to take more of its answer; 0 while it does.
    blocked_until: AtomicU64,
    is_cut: AtomicBool,
    waker: AtomicWaker,
}

impl Connections {
    /// None yet.
    pub fn new(limits: Limits, trusted_proxies: Vec<IpNet>) -> Arc<Connections> {
        // The milliseconds are counted from a little earlier, so that none is 0.
        let started = Instant::now().checked_sub(Duration::from_secs(1)).unwrap_or_else(Instant::now);
        Arc::new(Connections { started, limits, trusted: trusted_proxies, held: Mutex::default() })
    }

    /// Takes a new connection in; the oldest strangers make room for it. `None` when every
    /// connection is at work for someone known.
    pub fn admit(self: &Arc<Self>, peer: Option<SocketAddr>) -> Option<Arc<Connection>> {
        let peer = peer.map(|peer| peer.ip().to_canonical());
        let is_proxy = |peer: &IpAddr| self.trusted.iter().any(|network| network.contains(peer));
        let address = peer.filter(|peer| !is_proxy(peer)).map(address::network);
        let mut held = self.held();
        if let Some(address) = address {
            let own = held.by_address.get(&address);
            if let Some(oldest) =
                own.filter(|own| own.len() >= self.limits.per_address).and_then(BTreeSet::first)
            {
                let oldest = *oldest;
                held.cut(oldest);
            }
        }
        if held.strangers.len() >= self.limits.strangers
            && let Some(oldest) = held.strangers.first().copied()
        {
            held.cut(oldest);
        }
        if held.all.len() >= self.limits.total {
            let waits = |connection: &&Arc<Connection>| connection.waiting_since.load(Relaxed) != 0;
            let idle = || held.all.values().find(waits).map(|connection| connection.number);
            let oldest = held.strangers.first().copied().or_else(idle)?;
            held.cut(oldest);
        }
        let number = held.next;
        held.next += 1;
        let connection = Arc::new(Connection {
            all: Arc::downgrade(self),
            started: self.started,
            number,
            address,
            proved: AtomicBool::new(false),
            sender: Mutex::default(),
            open: AtomicUsize::new(0),
            waiting_since: AtomicU64::new(self.now()),
            blocked_until: AtomicU64::new(0),
            is_cut: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        });
        held.all.insert(number, connection.clone());
        if let Some(address) = address {
            held.strangers.insert(number);
            held.by_address.entry(address).or_default().insert(number);
        }
        Some(connection)
    }

    /// Cuts off, again and again, what waits or blocks for too long, as long as there is a server.
    pub async fn look_after(connections: Weak<Connections>) {
        loop {
            tokio::time::sleep(ROUND).await;
            let Some(connections) = connections.upgrade() else { return };
            connections.cut_overdue();
        }
    }

    fn cut_overdue(&self) {
        let now = self.now();
        let mut held = self.held();
        let overdue: Vec<u64> =
            held.all.values().filter(|one| one.is_overdue(now)).map(|one| one.number).collect();
        overdue.into_iter().for_each(|number| held.cut(number));
    }

    fn now(&self) -> u64 {
        milliseconds(self.started.elapsed())
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn cut(&mut self, number: u64) {
        if let Some(connection) = self.remove(number) {
            connection.is_cut.store(true, Relaxed);
            connection.waker.wake();
        }
    }

    fn remove(&mut self, number: u64) -> Option<Arc<Connection>> {
        let connection = self.all.remove(&number)?;
        self.no_stranger(&connection);
        let sender = connection.sender.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(sender) = sender
            && let Some(count) = self.by_sender.get_mut(&sender)
        {
            *count -= 1;
            if *count == 0 {
                self.by_sender.remove(&sender);
            }
        }
        Some(connection)
    }

    fn no_stranger(&mut self, connection: &Connection) {
        self.strangers.remove(&connection.number);
        if let Some(address) = connection.address
            && let Some(own) = self.by_address.get_mut(&address)
        {
            own.remove(&connection.number);
            if own.is_empty() {
                self.by_address.remove(&address);
            }
        }
    }
}

impl Connection {
    /// Serves this connection to its end, or until it is cut off.
    pub async fn serve<T>(self: Arc<Self>, service: impl Future<Output = T>) -> Option<T> {
        // It leaves in any case, also when the service panics.
        let _leaves = Leaves(self.clone());
        let mut service = pin!(service);
        poll_fn(|context| {
            self.waker.register(context.waker());
            if self.is_cut.load(Relaxed) {
                return Poll::Ready(None);
            }
            service.as_mut().poll(context).map(Some)
        })
        .await
    }

    fn is_overdue(&self, now: u64) -> bool {
        match (self.blocked_until.load(Relaxed), self.waiting_since.load(Relaxed)) {
            (0, 0) => false,
            (0, since) => now.saturating_sub(since) > milliseconds(WAITING),
            (until, _) => now > until,
        }
    }

    fn now(&self) -> u64 {
        milliseconds(self.started.elapsed())
    }

    fn prove(&self, sender: Sender) {
        let Some(all) = self.all.upgrade() else { return };
        let mut held = all.held();
        // It may have been cut off meanwhile.
        if !held.all.contains_key(&self.number) {
            return;
        }
        let count = held.by_sender.entry(sender.clone()).or_default();
        if *count >= all.limits.per_sender {
            return;
        }
        *count += 1;
        held.no_stranger(self);
        *self.sender.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        self.proved.store(true, Relaxed);
    }
}

/// Takes a connection out when it has ended.
struct Leaves(Arc<Connection>);

impl Drop for Leaves {
    fn drop(&mut self) {
        if let Some(all) = self.0.all.upgrade() {
            all.held().remove(self.0.number);
        }
    }
}

/// Notes that the client has proved who it is, so that its connection does not make room for
/// strangers'.
pub fn prove(request: &HttpRequest, sender: impl FnOnce() -> Sender) {
    if let Some(connection) = request.conn_data::<Arc<Connection>>()
        && !connection.proved.load(Relaxed)
    {
        connection.prove(sender());
    }
}

/// A request that is being answered; its connection does not wait meanwhile.
pub struct Answering(Arc<Connection>);

impl Answering {
    /// Begins with the request, and ends with the value.
    pub fn new(request: &HttpRequest) -> Option<Answering> {
        let connection = request.conn_data::<Arc<Connection>>()?;
        connection.open.fetch_add(1, Relaxed);
        connection.waiting_since.store(0, Relaxed);
        Some(Answering(connection.clone()))
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        if self.0.open.fetch_sub(1, Relaxed) == 1 {
            self.0.waiting_since.store(self.0.now(), Relaxed);
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::KeyId;
    use crate::time::Time;

    const LIMITS: Limits = Limits { total: 6, strangers: 4, per_address: 2, per_sender: 3 };

    fn from(address: &str) -> Option<SocketAddr> {
        Some(SocketAddr::new(address.parse().expect("an address"), 1))
    }

    fn key() -> Sender {
        Sender::Key(KeyId::new(Time::from_seconds(0)))
    }

    fn cut(connection: &Connection) -> bool {
        connection.is_cut.load(Relaxed)
    }

    #[test]
    fn an_address_makes_room_for_itself_and_proxies_for_none() {
        let all = Connections::new(LIMITS, vec!["10.0.0.0/8".parse().expect("a network")]);
        let open = |address| all.admit(from(address)).expect("room");
        let other = open("192.0.2.9");
        let (first, second, third) = (open("2001:db8::1"), open("2001:db8::2"), open("2001:db8::3"));
        assert_eq!([cut(&other), cut(&first), cut(&second), cut(&third)], [false, true, false, false]);
        let proxies = [open("10.0.0.1"), open("10.0.0.1"), open("10.0.0.1")];
        assert!(proxies.iter().all(|proxy| !cut(proxy)));
    }

    #[test]
    fn strangers_make_room_and_whoever_proved_who_they_are_does_not() {
        let all = Connections::new(LIMITS, Vec::new());
        let open = |number: usize| all.admit(from(&format!("192.0.2.{number}")));
        let proved: Vec<_> = (1..=3).map(|number| open(number).expect("room")).collect();
        let sender = key();
        proved.iter().for_each(|connection| connection.prove(sender.clone()));
        let fourth = open(4).expect("room");
        fourth.prove(sender);
        assert!(!fourth.proved.load(Relaxed), "one key protects no more than its share");
        for number in 5..50 {
            open(number).expect("room");
        }
        assert!(cut(&fourth) && proved.iter().all(|connection| !cut(connection)));
        let held = all.held();
        assert_eq!((held.all.len(), held.strangers.len(), held.by_address.len()), (6, 3, 3));
    }

    #[test]
    fn when_all_are_at_work_for_someone_known_the_newest_is_refused() {
        let all = Connections::new(LIMITS, Vec::new());
        let open = |number: usize| all.admit(from(&format!("192.0.2.{number}")));
        let known: Vec<_> = (1..=6).map(|number| open(number).expect("room")).collect();
        known.iter().for_each(|connection| connection.prove(key()));
        known.iter().for_each(|connection| connection.waiting_since.store(0, Relaxed));
        assert!(open(7).is_none());
        known[3].waiting_since.store(1, Relaxed);
        assert!(open(8).is_some() && cut(&known[3]));
    }

    #[test]
    fn what_waits_or_blocks_too_long_is_overdue() {
        let all = Connections::new(LIMITS, Vec::new());
        let one = all.admit(None).expect("room");
        let now = one.now();
        assert!(!one.is_overdue(now) && one.is_overdue(now + milliseconds(WAITING) + 1));
        one.blocked_until.store(now + 30_000, Relaxed);
        assert!(!one.is_overdue(now + 29_000) && one.is_overdue(now + 31_000));
    }

    #[test]
    fn limits_follow_the_descriptors() {
        let few = Limits { total: 448, strangers: 112, per_address: 56, per_sender: 224 };
        assert_eq!(Limits::of_descriptors(1024), few);
        assert_eq!(Limits::of_descriptors(524_288).total, 4096);
        assert_eq!(Limits::of_descriptors(10).total, 64);
    }
}
