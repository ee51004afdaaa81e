//! The connections of clients: how many there are, what each is doing, and which must go.
//!
//! A connection that waits for a request, or that does not take its answer, is cut off after a
//! while. Connections on which nobody has proved who they are (strangers') and known ones have room
//! of their own. A new connection is always admitted: when there are too many strangers, the oldest
//! is cut off, and when there are too many known connections, one of the owner that has the most.

mod pressure;
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

pub use pressure::Holder;
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
    /// Known, and those from trusted proxies. The rest is kept free for strangers, as every new
    /// connection is one at first.
    pub known: usize,
    /// Of these, what one owner keeps when there is no room. Until then nobody is limited.
    pub per_owner: usize,
}

impl Limits {
    /// What fits into so many descriptors, where each request may need another one for the
    /// upstream.
    pub fn of_descriptors(descriptors: u64) -> Limits {
        let total = (descriptors.saturating_sub(OTHER_DESCRIPTORS) / 2).clamp(64, MOST) as usize;
        let (strangers, eighth) = (total / 4, total / 8);
        Limits { total, strangers, per_address: eighth, known: total - eighth, per_owner: eighth }
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
}

/// One connection.
pub struct Connection {
    all: Weak<Connections>,
    started: Instant,
    number: u64,
    /// Whose it is until someone proves who they are; nothing for trusted proxies.
    address: Option<IpAddr>,
    proved: AtomicBool,
    /// Who its latest authenticated request was for.
    holder: Mutex<Option<Holder>>,
    /// Whether the body of its request is being received.
    is_receiving: AtomicBool,
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

    /// Admits a new connection. If there is no room, another one is cut off.
    pub fn admit(self: &Arc<Self>, peer: Option<SocketAddr>) -> Arc<Connection> {
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
        if address.is_none() {
            held.make_room_for_known(&self.limits);
        }
        // There is a stranger then, as known connections never take all the room.
        if held.all.len() >= self.limits.total
            && let Some(oldest) = held.strangers.first().copied()
        {
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
            holder: Mutex::default(),
            is_receiving: AtomicBool::new(false),
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
        connection
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
        Some(connection)
    }

    /// Makes room for one more known connection.
    fn make_room_for_known(&mut self, limits: &Limits) {
        if self.all.len() - self.strangers.len() < limits.known {
            return;
        }
        let candidates: Vec<_> =
            self.all.values().filter(|one| one.is_known()).map(|one| one.candidate()).collect();
        for number in pressure::choose(&candidates, limits.per_owner, limits.total / 64) {
            self.cut(number);
        }
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

    fn is_known(&self) -> bool {
        self.address.is_none() || self.proved.load(Relaxed)
    }

    fn candidate(&self) -> pressure::Candidate {
        let waits = self.waiting_since.load(Relaxed) != 0 || self.blocked_until.load(Relaxed) != 0;
        let is_stalled = waits || self.is_receiving.load(Relaxed);
        pressure::Candidate { number: self.number, holder: *self.holder(), is_stalled }
    }

    fn holder(&self) -> MutexGuard<'_, Option<Holder>> {
        self.holder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn prove(&self, holder: Holder) {
        *self.holder() = Some(holder);
        if self.is_known() {
            return;
        }
        let Some(all) = self.all.upgrade() else { return };
        let mut held = all.held();
        // It may have been cut off meanwhile.
        if held.all.contains_key(&self.number) {
            held.make_room_for_known(&all.limits);
            held.no_stranger(self);
            self.proved.store(true, Relaxed);
        }
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

/// Notes for whom the connection works, now that the client has proved who it is: it no longer makes
/// room for strangers'.
pub fn prove(request: &HttpRequest, holder: Holder) {
    if let Some(connection) = request.conn_data::<Arc<Connection>>() {
        connection.prove(holder);
    }
}

/// The body of a request is being received until this is dropped.
pub struct Receiving(Arc<Connection>);

impl Receiving {
    /// Begins to receive.
    pub fn new(request: &HttpRequest) -> Option<Receiving> {
        let connection = request.conn_data::<Arc<Connection>>()?;
        connection.is_receiving.store(true, Relaxed);
        Some(Receiving(connection.clone()))
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        self.0.is_receiving.store(false, Relaxed);
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
        if connection.address.is_none() {
            // A proxy sends requests of many clients over one connection.
            *connection.holder() = None;
        }
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
    use crate::id::{KeyId, OrgId, UserId};
    use crate::time::Time;

    const LIMITS: Limits = Limits { total: 8, strangers: 4, per_address: 2, known: 6, per_owner: 2 };

    fn from(address: &str) -> Option<SocketAddr> {
        Some(SocketAddr::new(address.parse().expect("an address"), 1))
    }

    fn holder() -> Holder {
        let time = Time::from_seconds(0);
        Holder { org: Some(OrgId::new(time)), owner: UserId::new(time), key: Some(KeyId::new(time)) }
    }

    fn cut(connection: &Connection) -> bool {
        connection.is_cut.load(Relaxed)
    }

    fn begin(connection: &Connection) {
        connection.waiting_since.store(0, Relaxed);
    }

    #[test]
    fn an_address_makes_room_for_itself_and_proxies_for_none() {
        let all = Connections::new(LIMITS, vec!["10.0.0.0/8".parse().expect("a network")]);
        let open = |address| all.admit(from(address));
        let other = open("192.0.2.9");
        let (first, second, third) = (open("2001:db8::1"), open("2001:db8::2"), open("2001:db8::3"));
        assert_eq!([cut(&other), cut(&first), cut(&second), cut(&third)], [false, true, false, false]);
        let proxies = [open("10.0.0.1"), open("10.0.0.1"), open("10.0.0.1")];
        assert!(proxies.iter().all(|proxy| !cut(proxy)));
    }

    #[test]
    fn strangers_make_room_and_known_connections_keep_theirs() {
        let all = Connections::new(LIMITS, Vec::new());
        let open = |number: usize| all.admit(from(&format!("192.0.2.{number}")));
        let greedy = holder();
        let known: Vec<_> = (1..=6).map(open).inspect(|connection| connection.prove(greedy)).collect();
        assert!(known.iter().all(|connection| connection.is_known()), "one key may have all there is");
        let last = (7..50).fold(None, |_, number| Some(open(number))).expect("one");
        assert!(!cut(&last) && known.iter().all(|connection| !cut(connection)));
        let held = all.held();
        assert_eq!((held.all.len(), held.strangers.len(), held.by_address.len()), (8, 2, 2));
    }

    #[test]
    fn when_all_are_at_work_the_owner_of_most_makes_room_for_a_newcomer() {
        let all = Connections::new(LIMITS, Vec::new());
        let open = |number: usize| all.admit(from(&format!("192.0.2.{number}")));
        let (greedy, modest) = (holder(), holder());
        let works_for = |number: usize, holder| {
            let connection = open(number);
            begin(&connection);
            connection.prove(holder);
            connection
        };
        let known: Vec<_> =
            (1..=6).map(|number| works_for(number, if number <= 2 { modest } else { greedy })).collect();
        known[4].is_receiving.store(true, Relaxed);
        for number in 7..=8 {
            let newcomer = works_for(number, holder());
            assert!(newcomer.is_known() && !cut(&newcomer));
        }
        let state: Vec<bool> = known.iter().map(|connection| cut(connection)).collect();
        assert_eq!(state, [false, false, true, false, true, false]);
    }

    #[test]
    fn proxied_connections_work_for_the_client_of_the_latest_request() {
        let all = Connections::new(LIMITS, vec!["10.0.0.0/8".parse().expect("a network")]);
        let proxied: Vec<_> = (0..6).map(|_| all.admit(from("10.0.0.1"))).collect();
        let (greedy, modest) = (holder(), holder());
        proxied.iter().for_each(|connection| connection.prove(modest));
        proxied[3..].iter().for_each(|connection| connection.prove(greedy));
        proxied[..3].iter().for_each(|connection| begin(connection));
        assert!(!cut(&all.admit(from("10.0.0.1"))));
        let state: Vec<bool> = proxied.iter().map(|connection| cut(connection)).collect();
        assert_eq!(state, [false, false, false, true, false, false]);
    }

    #[test]
    fn what_waits_or_blocks_too_long_is_overdue() {
        let all = Connections::new(LIMITS, Vec::new());
        let one = all.admit(None);
        let now = one.now();
        assert!(!one.is_overdue(now) && one.is_overdue(now + milliseconds(WAITING) + 1));
        one.blocked_until.store(now + 30_000, Relaxed);
        assert!(!one.is_overdue(now + 29_000) && one.is_overdue(now + 31_000));
    }

    #[test]
    fn limits_follow_the_descriptors() {
        let few = Limits { total: 448, strangers: 112, per_address: 56, known: 392, per_owner: 56 };
        assert_eq!(Limits::of_descriptors(1024), few);
        assert_eq!(Limits::of_descriptors(524_288).total, 4096);
        assert_eq!(Limits::of_descriptors(10).total, 64);
    }
}
