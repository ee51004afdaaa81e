//! The memory budget of request bodies that are unfinished or not yet answered.
//!
//! There is one pool for small bodies of requests with keys, one for large ones, one for decompressing these, one
//! for signed-in people and one for everybody else, so that none can use up another's. Within a pool, each key,
//! person or address has a limited share.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::ByteSize;
use crate::id::{KeyId, UserId};
use crate::web::body::MAX_BODY;

const MIB: usize = 1024 * 1024;

/// The sender of a body.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Sender {
    Key(KeyId),
    Person(UserId),
    /// An unauthenticated client, by address or, with IPv6, /64 network.
    Address(IpAddr),
}

/// Why more bytes can't be reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoom {
    /// The sender's share is used up.
    Share,
    /// The pool is used up.
    Pool,
}

/// The pools of one process.
pub struct Budget {
    max_body: ByteSize,
    small: Pool,
    large: Pool,
    decoders: Pool,
    people: Pool,
    strangers: Pool,
}

impl Budget {
    /// The budget where a body of the gateway may have `max_body` bytes. Two keys can each send the largest one at the
    /// same time.
    pub fn new(max_body: ByteSize) -> Budget {
        let share = max_body.0.max(32 * MIB);
        Budget {
            max_body,
            small: Pool::new(8 * MIB, 2 * MIB),
            large: Pool::new(2 * share, share),
            decoders: Pool::new(24 * MIB, 17 * MIB),
            people: Pool::new(4 * MIB, MIB),
            strangers: Pool::new(4 * MIB, MIB),
        }
    }

    /// The largest body of a request to the gateway.
    pub fn max_body(&self) -> ByteSize {
        self.max_body
    }
}

struct Pool {
    most: usize,
    share: usize,
    taken: Mutex<Reserved>,
}

#[derive(Default)]
struct Reserved {
    total: usize,
    by_sender: HashMap<Sender, usize>,
}

impl Pool {
    fn new(most: usize, share: usize) -> Pool {
        Pool { most, share, taken: Mutex::default() }
    }

    fn take(&self, sender: &Sender, bytes: usize) -> Result<(), NoRoom> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.by_sender.get(sender).copied().unwrap_or_default();
        if own + bytes > self.share {
            return Err(NoRoom::Share);
        }
        if taken.total + bytes > self.most {
            return Err(NoRoom::Pool);
        }
        taken.total += bytes;
        taken.by_sender.insert(sender.clone(), own + bytes);
        Ok(())
    }

    fn give_back(&self, sender: &Sender, bytes: usize) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.total -= bytes;
        if let Some(own) = taken.by_sender.get_mut(sender) {
            *own -= bytes;
            if *own == 0 {
                taken.by_sender.remove(sender);
            }
        }
    }
}

/// The bytes that a body has reserved; dropping it releases them.
pub struct Reservation {
    budget: Arc<Budget>,
    sender: Sender,
    small: usize,
    large: usize,
    decoder: usize,
}

impl Reservation {
    /// Starts with nothing reserved.
    pub fn new(budget: Arc<Budget>, sender: Sender) -> Reservation {
        Reservation { budget, sender, small: 0, large: 0, decoder: 0 }
    }

    /// Raises the reservation to this number of bytes.
    pub fn raise_to(&mut self, bytes: usize) -> Result<(), NoRoom> {
        let is_key = matches!(self.sender, Sender::Key(_));
        let small = if is_key { bytes.min(MAX_BODY) } else { bytes };
        let large = bytes - small;
        if small > self.small {
            self.small_pool().take(&self.sender, small - self.small)?;
            self.small = small;
        }
        if large > self.large {
            self.budget.large.take(&self.sender, large - self.large)?;
            self.large = large;
        }
        Ok(())
    }

    /// Raises what is reserved for decompressing the body to this number of bytes.
    pub fn raise_decoder_to(&mut self, bytes: usize) -> Result<(), NoRoom> {
        if bytes > self.decoder {
            self.decoder_pool().take(&self.sender, bytes - self.decoder)?;
            self.decoder = bytes;
        }
        Ok(())
    }

    /// Releases what was reserved for decompressing the body.
    pub fn release_decoder(&mut self) {
        if self.decoder > 0 {
            self.decoder_pool().give_back(&self.sender, self.decoder);
            self.decoder = 0;
        }
    }

    fn decoder_pool(&self) -> &Pool {
        if matches!(self.sender, Sender::Key(_)) { &self.budget.decoders } else { self.small_pool() }
    }

    fn small_pool(&self) -> &Pool {
        match self.sender {
            Sender::Key(_) => &self.budget.small,
            Sender::Person(_) => &self.budget.people,
            Sender::Address(_) => &self.budget.strangers,
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.small > 0 {
            self.small_pool().give_back(&self.sender, self.small);
        }
        if self.large > 0 {
            self.budget.large.give_back(&self.sender, self.large);
        }
        self.release_decoder();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Time;

    fn key() -> Sender {
        Sender::Key(KeyId::new(Time::from_seconds(0)))
    }

    fn budget(max_body: usize) -> Arc<Budget> {
        Arc::new(Budget::new(ByteSize(max_body)))
    }

    #[test]
    fn one_key_gets_its_share_and_leaves_the_rest_to_others() {
        for (max_body, share) in [(MIB, 32 * MIB), (32 * MIB, 32 * MIB), (100 * MIB, 100 * MIB)] {
            let budget = budget(max_body);
            let greedy = key();
            let mut first = Reservation::new(budget.clone(), greedy.clone());
            assert_eq!(first.raise_to(share), Ok(()));
            let mut second = Reservation::new(budget.clone(), greedy.clone());
            assert_eq!(second.raise_to(MIB), Err(NoRoom::Share));
            assert_eq!(Reservation::new(budget.clone(), key()).raise_to(share), Ok(()));
            drop(first);
            assert_eq!(second.raise_to(MIB), Ok(()));
        }
    }

    #[test]
    fn large_bodies_leave_room_for_small_ones_and_all_is_given_back() {
        let budget = budget(32 * MIB);
        let mut held = Vec::new();
        let full = loop {
            let mut next = Reservation::new(budget.clone(), key());
            match next.raise_to(10 * MIB) {
                Ok(()) => held.push(next),
                Err(full) => break full,
            }
        };
        assert_eq!((held.len(), full), (6, NoRoom::Pool));
        assert_eq!(Reservation::new(budget.clone(), key()).raise_to(MAX_BODY), Ok(()));
        let stranger = Sender::Address(IpAddr::from([192, 0, 2, 1]));
        let mut small = Reservation::new(budget.clone(), stranger);
        assert_eq!((small.raise_to(MAX_BODY), small.raise_decoder_to(MAX_BODY)), (Ok(()), Ok(())));
        let mut decoding = Reservation::new(budget.clone(), key());
        assert_eq!(decoding.raise_decoder_to(17 * MIB), Ok(()));
        assert_eq!(Reservation::new(budget.clone(), key()).raise_decoder_to(8 * MIB), Err(NoRoom::Pool));
        decoding.release_decoder();
        assert_eq!(Reservation::new(budget.clone(), key()).raise_decoder_to(8 * MIB), Ok(()));
        held.clear();
        drop(small);
        for pool in [&budget.small, &budget.large, &budget.decoders, &budget.people, &budget.strangers] {
            let taken = pool.taken.lock().expect("not poisoned");
            assert_eq!((taken.total, taken.by_sender.len()), (0, 0));
        }
    }
}
