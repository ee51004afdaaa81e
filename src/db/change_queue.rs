//! Changes of one organisation, or of one account, are made one at a time. They queue here, in memory, before
//! they occupy one of the few database connections, so a flood of changes in one organisation leaves the
//! connections free for others.
//!
//! Within a queue, people and programs alternate, and so do the requesters in each of these two groups. Someone who
//! sends a thousand requests delays mostly their own, and revoking a key in the portal waits for at most one or
//! two changes that programs sent.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::error::{Error, Result};
use crate::id::{OrgId, SecretId, UserId};

/// How long a change waits for its turn.
const PATIENCE: Duration = Duration::from_secs(30);

/// Identifies a queue: one for each organisation and each account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QueueKey {
    /// An organisation.
    Org(OrgId),
    /// A person's account.
    Person(UserId),
}

/// The requester of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requester {
    /// A person, or an operator with the command line.
    Person(UserId),
    /// A program with this secret.
    Program(SecretId),
}

/// The queues in which someone has a turn.
#[derive(Default)]
pub(super) struct ChangeQueues(Mutex<HashMap<QueueKey, ChangeQueue>>);

/// The requesters that wait for a turn in one queue.
#[derive(Default)]
struct ChangeQueue {
    people: RoundRobin,
    programs: RoundRobin,
    program_is_next: bool,
}

/// The requesters of one kind, each with all of its requests.
#[derive(Default)]
struct RoundRobin(VecDeque<(Requester, VecDeque<oneshot::Sender<Turn>>)>);

/// A turn, which ends when it is dropped.
pub(super) struct Turn {
    key: QueueKey,
    queues: Option<Arc<ChangeQueues>>,
}

impl ChangeQueues {
    /// Waits for a turn. Error: `Unavailable` if that takes too long.
    pub(super) async fn take(self: &Arc<ChangeQueues>, key: QueueKey, requester: Requester) -> Result<Turn> {
        let turn = {
            let mut queues = self.lock();
            let Some(waiting) = queues.get_mut(&key) else {
                queues.insert(key, ChangeQueue::default());
                return Ok(Turn { key, queues: Some(self.clone()) });
            };
            waiting.add(requester)
        };
        // If the turn arrives after the timeout, it is dropped with the channel and thereby passed on.
        match timeout(PATIENCE, turn).await {
            Ok(turn) => turn.map_err(Error::internal),
            Err(_) => Err(Error::Unavailable("too many changes are waiting".into())),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<QueueKey, ChangeQueue>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next requester; if there is none, the queue is removed.
    fn next(&self, key: QueueKey) -> Option<oneshot::Sender<Turn>> {
        let mut queues = self.lock();
        let next = queues.get_mut(&key).and_then(ChangeQueue::next);
        if next.is_none() {
            queues.remove(&key);
        }
        next
    }
}

impl ChangeQueue {
    fn add(&mut self, requester: Requester) -> oneshot::Receiver<Turn> {
        let (sender, receiver) = oneshot::channel();
        let group =
            if matches!(requester, Requester::Program(_)) { &mut self.programs } else { &mut self.people };
        match group.0.iter_mut().find(|(known, _)| *known == requester) {
            Some((_, senders)) => senders.push_back(sender),
            None => group.0.push_back((requester, VecDeque::from([sender]))),
        }
        receiver
    }

    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        let (first, second) = match self.program_is_next {
            true => (&mut self.programs, &mut self.people),
            false => (&mut self.people, &mut self.programs),
        };
        let next = first.next().or_else(|| second.next());
        self.program_is_next = !self.program_is_next;
        next
    }
}

impl RoundRobin {
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        let (requester, mut senders) = self.0.pop_front()?;
        let next = senders.pop_front();
        if !senders.is_empty() {
            self.0.push_back((requester, senders));
        }
        next
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(queues) = self.queues.take() else { return };
        while let Some(next) = queues.next(self.key) {
            match next.send(Turn { key: self.key, queues: Some(queues.clone()) }) {
                Ok(()) => return,
                // The receiver has given up. Disarm this turn and offer another one to the next.
                Err(mut turn) => turn.queues = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::time::Time;

    #[tokio::test]
    async fn flood_of_changes_delays_only_its_sender() {
        let (queues, now) = (Arc::new(ChangeQueues::default()), Time::from_seconds(0));
        let key = QueueKey::Org(OrgId::new(now));
        let (flood, program) =
            (Requester::Program(SecretId::new(now)), Requester::Program(SecretId::new(now)));
        let person = Requester::Person(UserId::new(now));
        let first = queues.take(key, flood).await.expect("the first turn");
        let mut waiting = Vec::new();
        for (place, requester) in [flood, flood, flood, program, person].into_iter().enumerate() {
            let mut turn = Box::pin({
                let queues = queues.clone();
                async move { queues.take(key, requester).await }
            });
            assert!(turn.as_mut().now_or_never().is_none(), "it waits");
            waiting.push((place, turn));
        }
        // Skip abandoned requests.
        drop(waiting.remove(1));
        let (mut order, mut turn) = (Vec::new(), first);
        while !waiting.is_empty() {
            drop(turn);
            let next =
                waiting.iter_mut().enumerate().find_map(|(at, (_, turn))| Some((at, turn.now_or_never()?)));
            let (at, taken) = next.expect("a turn");
            order.push(waiting.remove(at).0);
            turn = taken.expect("a turn");
        }
        assert_eq!(order, [4, 0, 3, 2]);
        drop(turn);
        assert!(queues.lock().is_empty());
    }
}
