//! Ends what a key has begun when the key stops working, or when the process is about to stop.
//!
//! The gate checks a key before the upstream is called, but answers of models can take minutes. While one
//! is on its way, its key is looked up again twice a second, which a key in memory answers without the
//! database.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::gateway::reply::{Events, Interruption};
use crate::time::Time;
use crate::web::problem::{Code, Problem};
use crate::web::ticket::Ticket;

/// How often a key is looked up again.
const EVERY: Duration = Duration::from_millis(500);

/// Waits for an answer, as long as the key works. Dropping the wait ends the call upstream.
///
/// Errors: why the key stopped working.
pub(super) async fn answer<T>(
    ticket: &Ticket,
    answer: impl Future<Output = Result<T, Problem>>,
) -> Result<T, Problem> {
    let (mut answer, mut clock) = (std::pin::pin!(answer), clock());
    loop {
        tokio::select! {
            biased;
            done = &mut answer => return done,
            _ = clock.tick() => check(ticket).await.map_err(Interruption::into_problem)?,
        }
    }
}

/// The same events, until the key stops working: then an interruption, and the end.
pub(super) fn events(ticket: Ticket, events: Events) -> Events {
    let start = Some((ticket, events, clock()));
    Box::pin(stream::unfold(start, |state| async move {
        let (ticket, mut events, mut clock) = state?;
        loop {
            tokio::select! {
                biased;
                // First, so that a stream that is never silent can't outrun it.
                _ = clock.tick() => {
                    if let Err(interruption) = check(&ticket).await {
                        return Some((Err(interruption), None));
                    }
                }
                event = events.next() => return event.map(|event| (event, Some((ticket, events, clock)))),
            }
        }
    }))
}

fn clock() -> Interval {
    let mut clock = interval(EVERY);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    clock.reset();
    clock
}

/// Errors: why the key doesn't work any more, or that the process stops. Where nobody can tell, since
/// the database is away, what has begun goes on.
async fn check(ticket: &Ticket) -> Result<(), Interruption> {
    if ticket.has_to_end() {
        let detail = "The server is being restarted and could not wait for the end of this answer. Send the request again.";
        return Err(Interruption::Stopping(Problem::new(Code::Unavailable, detail)));
    }
    match ticket.check_key(Time::now()).await {
        Err(problem) if problem.code != Code::Unavailable => Err(Interruption::KeyRefused(problem)),
        _ => Ok(()),
    }
}
