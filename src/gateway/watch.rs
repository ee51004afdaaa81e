//! Ends running requests when their key stops working or the process is about to stop.
//!
//! The gate checks a key before the upstream is called, but a response can take minutes. Meanwhile, the key
//! is looked up again twice a second, which a key in memory answers without the database.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::gateway::reply::{Interruption, Parts};
use crate::time::Time;
use crate::web::problem::{Code, Problem};
use crate::web::ticket::Ticket;

/// How often a key is looked up again.
const EVERY: Duration = Duration::from_millis(500);

/// Waits for a response as long as the key works. Dropping the future cancels the request upstream.
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

/// Passes a response's parts on until the key stops working; then an interruption ends them.
pub(super) fn parts(ticket: Ticket, parts: Parts) -> Parts {
    let start = Some((ticket, parts, clock()));
    Box::pin(stream::unfold(start, |state| async move {
        let (ticket, mut parts, mut clock) = state?;
        loop {
            tokio::select! {
                biased;
                // First, so that a stream that never pauses can't outrun the check.
                _ = clock.tick() => {
                    if let Err(interruption) = check(&ticket).await {
                        return Some((Err(interruption), None));
                    }
                }
                part = parts.next() => return part.map(|part| (part, Some((ticket, parts, clock)))),
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

/// Errors: why the key stopped working, or that the process is about to stop. If the database is unavailable,
/// running requests continue.
async fn check(ticket: &Ticket) -> Result<(), Interruption> {
    if ticket.has_to_end() {
        let detail = "The server is restarting and could not wait for the end of this response. Send the request again.";
        return Err(Interruption::Stopping(Problem::new(Code::Unavailable, detail)));
    }
    match ticket.check_key(Time::now()).await {
        Err(problem) if problem.code != Code::Unavailable => Err(Interruption::KeyRefused(problem)),
        _ => Ok(()),
    }
}
