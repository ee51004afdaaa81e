//! A model of [`super::table`]. A checker tries every order of steps: look-ups that fill, a revocation, another change that a
//! fail-over may lose, readers of the feed, and the passing of time.
//!
//! Each step here is one atomic step there. A request must never be accepted if it began after this process answered the
//! revocation, or later after its commit than the staleness allows. The file is long so that the whole model can be
//! compared with the table in one place.

use stateright::{Checker, Model, Property};

/// The lease, in ticks of the clock.
const STALENESS: u8 = 1;
const END: u8 = 2;
/// A fail-over takes one more, and is tried with one request in place of two.
const MAX_ROUNDS: u8 = 2;

/// Variants of the table; all but the first have a known fault, which the checker must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Table {
    AsBuilt,
    /// The round is compared after the entry is visible.
    PutsThenCompares,
    /// The round is not compared.
    NeverCompares,
    /// Entries are removed before the new round begins.
    RemovesFirst,
    /// The lease counts from the end of a read of the feed.
    LeaseFromTheEnd,
    /// Keys in memory are accepted without a lease.
    NoLease,
    /// Heads of the feed are compared by their position alone.
    ComparesPositions,
}

/// The head of the feed: position and stamp.
type Head = (u8, u8);

/// The stamps of the head before and after each change.
const BEGINNING: u8 = 0;
const OTHER_CHANGE: u8 = 1;
const REVOCATION: u8 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Request {
    Idle,
    /// Whether it began after the revocation was answered here.
    Began {
        at: u8,
        late: bool,
    },
    Fresh {
        at: u8,
        late: bool,
    },
    Missed {
        at: u8,
        late: bool,
    },
    Noted {
        at: u8,
        late: bool,
        before: u8,
    },
    Read {
        at: u8,
        late: bool,
        before: u8,
        revoked: bool,
    },
    Put {
        at: u8,
        late: bool,
        before: u8,
        revoked: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Reader {
    Idle,
    Began {
        at: u8,
    },
    Seen {
        at: u8,
        seen: Head,
    },
    Head {
        at: u8,
        seen: Head,
        head: Head,
    },
    /// Between its two steps of forgetting.
    Half {
        at: u8,
        seen: Head,
        head: Head,
    },
    Forgot {
        at: u8,
        seen: Head,
        head: Head,
    },
    Noted {
        at: u8,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    clock: u8,
    /// When the revocation was committed.
    revoked_at: Option<u8>,
    /// Whether this process has answered it.
    answered: bool,
    /// What the table holds: whether the key is revoked.
    known: Option<bool>,
    rounds: u8,
    /// Up to where the feed was taken in.
    read: Head,
    /// The head of the feed in the database.
    head: Head,
    /// Whether a change of another key was made, and lost in a fail-over.
    changed: bool,
    failed_over: bool,
    fresh_until: u8,
    requests: [Request; 2],
    /// The follower of the feed, and the reading that the revocation itself makes.
    readers: [Reader; 2],
    /// Whether a key was accepted that must not be.
    wrong: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Tick,
    Revoke,
    ChangeOther,
    FailOver,
    Request(usize),
    Read(usize),
}

struct Process {
    table: Table,
    /// Whether this process takes the revocation, or another one does.
    revokes: bool,
    /// Whether a fail-over may lose another change.
    fails_over: bool,
}

impl Process {
    fn request(&self, state: &mut State, index: usize) {
        use Request::{Began, Fresh, Idle, Missed, Noted, Put, Read};
        let is_fresh = |state: &State, at| self.table == Table::NoLease || at < state.fresh_until;
        state.requests[index] = match state.requests[index] {
            Idle => Began { at: state.clock, late: state.answered },
            Began { at, late } => {
                if is_fresh(state, at) {
                    Fresh { at, late }
                } else {
                    Idle
                }
            }
            Fresh { at, late } => match state.known {
                Some(revoked) => answer(state, at, late, revoked),
                None if is_fresh(state, state.clock) => Missed { at, late },
                None => Idle,
            },
            Missed { at, late } => Noted { at, late, before: state.rounds },
            Noted { at, late, before } => Read { at, late, before, revoked: state.revoked_at.is_some() },
            Read { at, late, before, revoked } => {
                let puts_blindly = matches!(self.table, Table::PutsThenCompares | Table::NeverCompares);
                if puts_blindly || state.rounds == before {
                    state.known = Some(revoked);
                }
                Put { at, late, before, revoked }
            }
            Put { at, late, before, revoked } => {
                if self.table == Table::PutsThenCompares && state.rounds != before {
                    state.known = None;
                }
                answer(state, at, late, revoked)
            }
        };
    }

    fn read(&self, state: &mut State, index: usize) {
        use Reader::{Began, Forgot, Half, Head, Idle, Noted, Seen};
        state.readers[index] = match state.readers[index] {
            Idle => Began { at: state.clock },
            Began { at } => Seen { at, seen: state.read },
            Seen { at, seen } => {
                let head = state.head;
                let is_same =
                    if self.table == Table::ComparesPositions { head.0 == seen.0 } else { head == seen };
                if is_same && at < state.fresh_until {
                    Forgot { at, seen, head }
                } else {
                    Head { at, seen, head }
                }
            }
            Head { at, seen, head } => {
                if self.table == Table::RemovesFirst {
                    state.known = None
                } else {
                    state.rounds += 1
                }
                Half { at, seen, head }
            }
            Half { at, seen, head } => {
                if self.table == Table::RemovesFirst {
                    state.rounds += 1
                } else {
                    state.known = None
                }
                Forgot { at, seen, head }
            }
            Forgot { at, seen, head } => {
                if state.read == seen || head.0 > state.read.0 {
                    state.read = head;
                }
                Noted { at }
            }
            Noted { at } => {
                let from = if self.table == Table::LeaseFromTheEnd { state.clock } else { at };
                state.fresh_until = state.fresh_until.max(from + STALENESS);
                state.answered |= index == 1;
                Idle
            }
        };
    }
}

fn answer(state: &mut State, at: u8, late: bool, revoked: bool) -> Request {
    let stale = state.revoked_at.is_some_and(|revoked_at| at >= revoked_at + STALENESS);
    state.wrong |= !revoked && (late || stale);
    Request::Idle
}

impl Model for Process {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            clock: 0,
            revoked_at: None,
            answered: false,
            known: None,
            rounds: 0,
            read: (0, BEGINNING),
            head: (0, BEGINNING),
            changed: false,
            failed_over: false,
            fresh_until: 0,
            requests: [Request::Idle; 2],
            readers: [Reader::Idle; 2],
            wrong: false,
        }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        if state.clock < END {
            steps.push(Step::Tick);
        }
        if state.revoked_at.is_none() {
            steps.push(Step::Revoke);
        }
        if self.fails_over && !state.changed && state.revoked_at.is_none() {
            steps.push(Step::ChangeOther);
        }
        // Only the other change is lost: a lost revocation was never made.
        if state.changed && !state.failed_over && state.revoked_at.is_none() {
            steps.push(Step::FailOver);
        }
        steps.extend([Step::Request(0), Step::Read(0)]);
        if !self.fails_over {
            steps.push(Step::Request(1));
        }
        // The revocation reads the feed once, after its commit and before its answer.
        if self.revokes && state.revoked_at.is_some() && !state.answered {
            steps.push(Step::Read(1));
        }
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        let mut next = state.clone();
        match step {
            Step::Tick => next.clock += 1,
            Step::Revoke => {
                next.revoked_at = Some(next.clock);
                next.head = (next.head.0 + 1, REVOCATION);
            }
            Step::ChangeOther => {
                next.changed = true;
                next.head = (next.head.0 + 1, OTHER_CHANGE);
            }
            Step::FailOver => {
                next.failed_over = true;
                next.head = (0, BEGINNING);
            }
            Step::Request(index) => self.request(&mut next, index),
            Step::Read(index) => self.read(&mut next, index),
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Process>> {
        vec![
            Property::always("no yes that may not be", |_, state: &State| !state.wrong),
            // The model must be able to do something.
            Property::sometimes("a key is held", |_, state: &State| state.known == Some(false)),
            Property::sometimes("a revoked key is held as such", |_, state: &State| {
                state.known == Some(true)
            }),
        ]
    }

    fn within_boundary(&self, state: &State) -> bool {
        state.rounds <= MAX_ROUNDS + u8::from(self.fails_over)
    }
}

/// Whether a wrong yes can be reached, and how many states were seen.
fn check(table: Table, revokes: bool, fails_over: bool) -> (bool, usize) {
    let checker = Process { table, revokes, fails_over }.checker().threads(2).spawn_bfs().join();
    let wrong = checker.discovery("no yes that may not be").is_some();
    if !wrong {
        checker.assert_any_discovery("a key is held");
        checker.assert_any_discovery("a revoked key is held as such");
    }
    (wrong, checker.unique_state_count())
}

#[test]
fn no_order_of_steps_admits_a_revoked_key() {
    for (revokes, fails_over) in [(true, false), (false, false), (true, true), (false, true)] {
        let (wrong, states) = check(Table::AsBuilt, revokes, fails_over);
        assert!(!wrong);
        let fewest = if fails_over { 10_000 } else { 100_000 };
        assert!(states > fewest, "{states} states are too few to be all");
    }
}

#[test]
fn check_finds_each_known_fault() {
    for table in [Table::PutsThenCompares, Table::NeverCompares, Table::RemovesFirst] {
        assert!(check(table, true, false).0, "{table:?}");
    }
    for table in [Table::LeaseFromTheEnd, Table::NoLease] {
        assert!(check(table, false, false).0, "{table:?}");
    }
    assert!(check(Table::ComparesPositions, true, true).0);
}
