//! The measurements and their targets.

use crate::peers::Peer;
use crate::wrk::Run;

/// The numbers of connections.
pub(crate) const CONNECTIONS: [usize; 3] = [1, 16, 64];
/// The index of 16 connections, at which CPU time is compared.
const SOME: usize = 1;
const MIB: f64 = 1024.0 * 1024.0;

/// What is measured.
pub(crate) struct Peers {
    /// nginx, `return 200`.
    pub(crate) floor: Peer,
    /// nginx, a model's response.
    pub(crate) upstream: Peer,
    /// nginx, a map of keys in front of a proxy.
    pub(crate) proxy: Peer,
    /// Bare actix.
    pub(crate) bare: Peer,
    /// Keydesk.
    pub(crate) keydesk: Peer,
}

type Runs = [Run; CONNECTIONS.len()];

/// The results of one round.
pub(crate) struct Round {
    pub(crate) floor: Runs,
    pub(crate) bare: Runs,
    pub(crate) checked: Runs,
    pub(crate) unknown: Run,
    pub(crate) malformed: Run,
    pub(crate) strangers: Run,
    pub(crate) upstream: Runs,
    pub(crate) proxy: Runs,
    pub(crate) forwarded: Runs,
}

/// All results.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) rounds: Vec<Round>,
    /// Milliseconds from start to ready.
    pub(crate) start: Vec<f64>,
    /// Milliseconds per stream.
    pub(crate) streams: Vec<f64>,
    /// Memory of the process in bytes, before and after the load.
    pub(crate) idle: u64,
    pub(crate) loaded: u64,
    /// Bytes per key held.
    pub(crate) held: u64,
}

impl Report {
    /// Prints them as tables.
    pub(crate) fn print(&self) {
        let cpu = |pick: fn(&Round) -> f64| self.median(pick);
        println!("| what | target | measured | |");
        println!("|---|---|---|---|");
        let ratio = self.median(|round| round.checked[SOME].cpu / round.floor[SOME].cpu);
        let detail = format!(
            "{ratio:.2} × ({:.1} µs, nginx {:.1} µs)",
            cpu(|round| round.checked[SOME].cpu),
            cpu(|round| round.floor[SOME].cpu)
        );
        line("check a key: CPU per request", "≤ 3 × nginx `return 200`", &detail, ratio <= 3.0);
        let ratio = self.median(|round| round.checked[SOME].rate / round.bare[SOME].rate);
        let detail = format!("{ratio:.2} × (bare actix {:.1} µs)", cpu(|round| round.bare[SOME].cpu));
        line("check a key: throughput", "≥ 0.8 × bare actix", &detail, ratio >= 0.8);
        for (what, pick) in [
            ("refuse an unknown key: CPU", (|round| round.unknown.cpu) as fn(&Round) -> f64),
            ("refuse a malformed key: CPU", |round| round.malformed.cpu),
            ("refuse unknown keys, each another: CPU", |round| round.strangers.cpu),
        ] {
            let ratio = self.median(|round| pick(round) / round.checked[SOME].cpu);
            line(what, "≤ accepting", &format!("{ratio:.2} × ({:.1} µs)", cpu(pick)), ratio <= 1.0);
        }
        let ratio = self.median(|round| round.forwarded[SOME].cpu / round.proxy[SOME].cpu);
        let detail = format!(
            "{ratio:.2} × ({:.1} µs, nginx {:.1} µs)",
            cpu(|round| round.forwarded[SOME].cpu),
            cpu(|round| round.proxy[SOME].cpu)
        );
        line("forward a call: CPU per request", "≤ 3 × nginx map + proxy", &detail, ratio <= 3.0);
        let added = self.median(|round| round.forwarded[0].p50 - round.upstream[0].p50);
        let nginx = self.median(|round| round.proxy[0].p50 - round.upstream[0].p50);
        let detail = format!("{added:.3} ms (nginx {nginx:.3} ms)");
        line("forward a call: added p50, one connection", "≤ 0.10 ms", &detail, added <= 0.10);
        let stream = median(self.streams.clone());
        let detail = format!("{stream:.2} ms, each before the next is sent");
        line("forward a stream of 20 chunks", "< 5 ms", &detail, stream < 5.0);
        let idle = self.idle as f64 / MIB;
        let detail = format!("{idle:.1} MiB ({:.1} after the load)", self.loaded as f64 / MIB);
        line("memory, idle", "≤ 30 MiB", &detail, idle <= 30.0);
        line("memory of a key held, of 1,000,000", "≤ 400 B", &format!("{} B", self.held), self.held <= 400);
        let start = median(self.start.clone());
        line("start with 100,000 keys, until ready", "< 200 ms", &format!("{start:.0} ms"), start < 200.0);

        println!("\n| | connections | requests/s | p50 ms | p99 ms | CPU µs | |");
        println!("|---|---|---|---|---|---|---|");
        self.runs("nginx `return 200`", |round| (round.floor, round.floor));
        self.runs("bare actix", |round| (round.bare, round.floor));
        self.runs("Keydesk `/v1/authorize`", |round| (round.checked, round.floor));
        self.runs("nginx, upstream alone", |round| (round.upstream, round.upstream));
        self.runs("nginx key map + proxy", |round| (round.proxy, round.upstream));
        self.runs("Keydesk `/v1/chat/completions`", |round| (round.forwarded, round.upstream));
    }

    /// One line per number of connections, with the rate as a ratio to a reference peer.
    fn runs(&self, name: &str, pick: fn(&Round) -> (Runs, Runs)) {
        for (place, connections) in CONNECTIONS.iter().enumerate() {
            let value = |of: fn(&Run) -> f64| self.median(|round| of(&pick(round).0[place]));
            let ratio = self.median(|round| {
                let (own, first) = pick(round);
                own[place].rate / first[place].rate
            });
            println!(
                "| {name} | {connections} | {:.0} | {:.3} | {:.2} | {:.1} | {ratio:.2} |",
                value(|run| run.rate),
                value(|run| run.p50),
                value(|run| run.p99),
                value(|run| run.cpu)
            );
        }
    }

    fn median(&self, pick: impl Fn(&Round) -> f64) -> f64 {
        median(self.rounds.iter().map(pick).collect())
    }
}

fn line(what: &str, target: &str, measured: &str, met: bool) {
    println!("| {what} | {target} | {measured} | {} |", if met { "met" } else { "**missed**" });
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
