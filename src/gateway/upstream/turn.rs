//! One of several upstreams is asked.

use crate::web::problem::{Code, Problem};

/// What the log says before another upstream is asked.
pub(super) const EVENT: &str = "the upstream failed; trying the next one";

/// Whether another upstream may be asked after a response with this status, because no work was done or it failed.
pub(super) fn is_replaceable(status: u16) -> bool {
    matches!(status, 429 | 500 | 502 | 503 | 529)
}

/// Whether there is another upstream to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    Last,
    NotLast,
}

/// Why an upstream has no reply for the client.
pub enum Miss {
    /// The problem that the client gets.
    Problem(Problem),
    /// The next upstream may be asked, because nothing was done. With the reason.
    TryNext(String),
}

impl From<Problem> for Miss {
    fn from(problem: Problem) -> Miss {
        Miss::Problem(problem)
    }
}

impl Miss {
    /// The problem that the client gets if no other upstream is asked.
    pub fn problem(self) -> Problem {
        match self {
            Miss::Problem(problem) => problem,
            Miss::TryNext(_) => Problem::new(Code::UpstreamError, "The upstream failed. Try again later."),
        }
    }
}
