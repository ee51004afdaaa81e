//! Client connections: how many there are, what each is doing, and which are closed.
//!
//! A connection is cut off if it waits too long for a request, or if its client doesn't read its response.
//! Unauthenticated connections (strangers) and known ones have separate room. A new connection is always
//! admitted: with too many strangers, the oldest is cut off; with too many known connections, one of the owner
//! with the most.

mod connection;
mod pressure;
mod stream;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use ipnet::IpNet;

use crate::web::address;

pub use connection::{Answering, Connection, Receiving, prove, yield_turn};
pub use pressure::ConnectionOwner;
pub use stream::Stream;

/// How often connections are checked.
const ROUND: Duration = Duration::from_secs(1);
/// File descriptors reserved for the database, files and so on.
const OTHER_DESCRIPTORS: u64 = 128;
/// The maximum number of connections of a process, however many descriptors it may open.
const MOST: u64 = 4096;

/// The maximum numbers of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub total: usize,
    /// Unauthenticated connections.
    pub strangers: usize,
    /// Unauthenticated connections from one address (with IPv6, one /64 network).
    pub per_address: usize,
    /// Known connections and those from trusted proxies. The rest stays free for strangers, since every new
    /// connection starts as one.
    pub known: usize,
    /// Known connections that one owner keeps when there is no room. Until then, owners are not limited.
    pub per_owner: usize,
}

impl Limits {
    /// The limits for this number of descriptors, where each request may need a second one for the
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
    keep_alive: Duration,
    set: Mutex<ConnectionSet>,
}

#[derive(Default)]
struct ConnectionSet {
    next: u64,
    all: BTreeMap<u64, Arc<Connection>>,
    strangers: BTreeSet<u64>,
    by_address: HashMap<IpAddr, BTreeSet<u64>>,
}

impl Connections {
    /// Starts without connections. `keep_alive` is how long one stays open after a response.
    pub fn new(limits: Limits, trusted_proxies: Vec<IpNet>, keep_alive: Duration) -> Arc<Connections> {
        // Milliseconds are counted from a second earlier, so that no time is 0.
        let started = Instant::now().checked_sub(Duration::from_secs(1)).unwrap_or_else(Instant::now);
        Arc::new(Connections { started, limits, trusted: trusted_proxies, keep_alive, set: Mutex::default() })
    }

    /// Admits a new connection, cutting off another one if there is no room.
    pub fn admit(self: &Arc<Self>, peer: Option<SocketAddr>) -> Arc<Connection> {
        let peer = peer.map(|peer| peer.ip().to_canonical());
        let is_proxy = |peer: &IpAddr| self.trusted.iter().any(|network| network.contains(peer));
        let address = peer.filter(|peer| !is_proxy(peer)).map(address::network);
        let mut set = self.lock();
        if let Some(address) = address {
            let own = set.by_address.get(&address);
            if let Some(oldest) =
                own.filter(|own| own.len() >= self.limits.per_address).and_then(BTreeSet::first)
            {
                let oldest = *oldest;
                set.cut(oldest);
            }
        }
        if set.strangers.len() >= self.limits.strangers
            && let Some(oldest) = set.strangers.first().copied()
        {
            set.cut(oldest);
        }
        if address.is_none() {
            set.make_room_for_known(&self.limits);
        }
        // There is a stranger in this case, since known connections never take all the room.
        if set.all.len() >= self.limits.total
            && let Some(oldest) = set.strangers.first().copied()
        {
            set.cut(oldest);
        }
        let number = set.next;
        set.next += 1;
        let connection = Arc::new(Connection::new(self, number, address));
        set.all.insert(number, connection.clone());
        if let Some(address) = address {
            set.strangers.insert(number);
            set.by_address.entry(address).or_default().insert(number);
        }
        connection
    }

    /// Cuts off overdue connections, periodically, as long as the server exists.
    pub async fn cut_overdue_regularly(connections: Weak<Connections>) {
        loop {
            tokio::time::sleep(ROUND).await;
            let Some(connections) = connections.upgrade() else { return };
            connections.cut_overdue();
        }
    }

    fn cut_overdue(&self) {
        let now = self.now();
        let mut set = self.lock();
        let overdue: Vec<u64> =
            set.all.values().filter(|one| one.is_overdue(now)).map(|one| one.number).collect();
        overdue.into_iter().for_each(|number| set.cut(number));
    }

    fn now(&self) -> u64 {
        milliseconds(self.started.elapsed())
    }

    fn lock(&self) -> MutexGuard<'_, ConnectionSet> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConnectionSet {
    fn cut(&mut self, number: u64) {
        if let Some(connection) = self.remove(number) {
            connection.cut();
        }
    }

    fn remove(&mut self, number: u64) -> Option<Arc<Connection>> {
        let connection = self.all.remove(&number)?;
        self.forget_stranger(&connection);
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

    fn forget_stranger(&mut self, connection: &Connection) {
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

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
