//! Changes of one organisation, or of one account, are made one at a time. They queue here, in memory, before
//! they occupy one of the few database connections, so a flood of changes in one organisation leaves the
//! connections free for others.
//!
//! Within a queue, people and programs alternate, and so do the askers in each of these two groups. Someone who
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

/// What only one change at a time may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Line {
    /// An organisation.
    Org(OrgId),
    /// A person's account.
    Person(UserId),
}

/// Who wants to change something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// A person, or an operator with the command line.
    Person(UserId),
    /// A program with this secret.
    Program(SecretId),
}

/// The lines in which someone has a turn.
#[derive(Default)]
pub(super) struct Lines(Mutex<HashMap<Line, Waiting>>);

/// The askers that wait for a turn.
#[derive(Default)]
struct Waiting {
    people: Ring,
    programs: Ring,
    program_is_next: bool,
}

/// The askers of one kind, each with all of its requests.
#[derive(Default)]
struct Ring(VecDeque<(Asker, VecDeque<oneshot::Sender<Turn>>)>);

/// A turn, which ends when it is dropped.
pub(super) struct Turn {
    line: Line,
    lines: Option<Arc<Lines>>,
}

impl Lines {
    /// Waits for a turn. Error: `Unavailable` if that takes too long.
    pub(super) async fn take(self: &Arc<Lines>, line: Line, asker: Asker) -> Result<Turn> {
        let turn = {
            let mut lines = self.lock();
            let Some(waiting) = lines.get_mut(&line) else {
                lines.insert(line, Waiting::default());
                return Ok(Turn { line, lines: Some(self.clone()) });
            };
            waiting.add(asker)
        };
        // If the turn arrives after the timeout, it is dropped with the channel and thereby passed on.
        match timeout(PATIENCE, turn).await {
            Ok(turn) => turn.map_err(Error::internal),
            Err(_) => Err(Error::Unavailable("too many changes are waiting".into())),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Line, Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next asker; if there is none, the line ends.
    fn next(&self, line: Line) -> Option<oneshot::Sender<Turn>> {
        let mut lines = self.lock();
        let next = lines.get_mut(&line).and_then(Waiting::next);
        if next.is_none() {
            lines.remove(&line);
        }
        next
    }
}

impl Waiting {
    fn add(&mut self, asker: Asker) -> oneshot::Receiver<Turn> {
        let (sender, receiver) = oneshot::channel();
        let ring = if matches!(asker, Asker::Program(_)) { &mut self.programs } else { &mut self.people };
        match ring.0.iter_mut().find(|(known, _)| *known == asker) {
            Some((_, senders)) => senders.push_back(sender),
            None => ring.0.push_back((asker, VecDeque::from([sender]))),
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

impl Ring {
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        let (asker, mut senders) = self.0.pop_front()?;
        let next = senders.pop_front();
        if !senders.is_empty() {
            self.0.push_back((asker, senders));
        }
        next
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(lines) = self.lines.take() else { return };
        while let Some(next) = lines.next(self.line) {
            match next.send(Turn { line: self.line, lines: Some(lines.clone()) }) {
                Ok(()) => return,
                // The receiver has given up. Disarm this turn and offer another one to the next.
                Err(mut turn) => turn.lines = None,
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
    async fn a_flood_delays_only_the_one_who_sends_it() {
        let (lines, now) = (Arc::new(Lines::default()), Time::from_seconds(0));
        let line = Line::Org(OrgId::new(now));
        let (flood, program) = (Asker::Program(SecretId::new(now)), Asker::Program(SecretId::new(now)));
        let person = Asker::Person(UserId::new(now));
        let first = lines.take(line, flood).await.expect("the first turn");
        let mut waiting = Vec::new();
        for (place, asker) in [flood, flood, flood, program, person].into_iter().enumerate() {
            let mut turn = Box::pin({
                let lines = lines.clone();
                async move { lines.take(line, asker).await }
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
            let (at, taken) = next.expect("somebody's turn");
            order.push(waiting.remove(at).0);
            turn = taken.expect("a turn");
        }
        assert_eq!(order, [4, 0, 3, 2]);
        drop(turn);
        assert!(lines.lock().is_empty());
    }
}
