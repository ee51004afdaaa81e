//! The connections of clients: how many there are, what each is doing, and which must go.
//!
//! A connection that waits for a request, or that does not take its answer, is cut off after a
//! while. Connections on which nobody has proved who they are (strangers') and known ones have room
//! of their own. A new connection is always admitted: when there are too many strangers, the oldest
//! is cut off, and when there are too many known connections, one of the owner that has the most.

mod connection;
mod pressure;
mod stream;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use ipnet::IpNet;

use crate::web::address;

pub use connection::{Answering, Connection, Receiving, give_way, prove};
pub use pressure::Holder;
pub use stream::Stream;

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
    keep_alive: Duration,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    next: u64,
    all: BTreeMap<u64, Arc<Connection>>,
    strangers: BTreeSet<u64>,
    by_address: HashMap<IpAddr, BTreeSet<u64>>,
}

impl Connections {
    /// None yet. `keep_alive` is how long one is kept after a response.
    pub fn new(limits: Limits, trusted_proxies: Vec<IpNet>, keep_alive: Duration) -> Arc<Connections> {
        // The milliseconds are counted from a little earlier, so that none is 0.
        let started = Instant::now().checked_sub(Duration::from_secs(1)).unwrap_or_else(Instant::now);
        Arc::new(Connections {
            started,
            limits,
            trusted: trusted_proxies,
            keep_alive,
            held: Mutex::default(),
        })
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
        let connection = Arc::new(Connection::new(self, number, address));
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
