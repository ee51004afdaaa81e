//! Pages of large organisations: the server time of each, as median and 99th percentile of sequential requests on
//! loopback, and the memory of a long export.
//!
//! ```text
//! cargo bench --bench pages -- 10000 100000                    numbers of keys
//! cargo bench --bench pages -- fill sqlite:FILE 100000         fill a database and leave it
//! ```
//!
//! Each key has about 100 rows of counts and ten audit entries. Before filling a database, create its organisation
//! with `keydesk setup`. The audit log is written without Keydesk, so run
//! `keydesk audit recover --org SLUG --new-name` before the server.
//!
//! It measures on SQLite and, when `KEYDESK_TEST_DATABASE` names a PostgreSQL server, on databases
//! of its own there. `benches/run pages` starts such a server.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![allow(clippy::print_stdout, reason = "it reports to a person")]

mod audit;
mod export;
mod fill;
mod server;
mod views;

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use crate::export::Export;
use crate::server::{Place, Server};

/// How often each page is asked for.
const TIMES: usize = 200;
/// What takes longer than this is asked for less often.
const SLOW: f64 = 250.0;
const SLOW_TIMES: usize = 20;

/// How many entries of the audit trail there are for each key.
const ENTRIES: i64 = 10;

/// Milliseconds: the first answer, the median, the 99th percentile.
struct Timed {
    first: f64,
    median: f64,
    late: f64,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` comes without it, and is not to take minutes.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let words: Vec<&str> = arguments.iter().map(String::as_str).filter(|word| *word != "--bench").collect();
    match words.as_slice() {
        ["fill", url, keys] => fill(url, keys.parse()?),
        [] => measure(&[10_000, 100_000]),
        keys => measure(&keys.iter().map(|keys| keys.parse()).collect::<Result<Vec<i64>, _>>()?),
    }
}

fn fill(url: &str, keys: i64) -> Result<()> {
    fill::fill(url, keys)?;
    audit::fill(url, (keys * ENTRIES).cast_unsigned())
}

fn measure(sizes: &[i64]) -> Result<()> {
    let mut names = Vec::new();
    let mut pages: BTreeMap<usize, (String, Vec<Timed>)> = BTreeMap::new();
    let mut exports: Vec<(String, Export)> = Vec::new();
    let postgres = std::env::var("KEYDESK_TEST_DATABASE").ok();
    for database in [None, postgres.as_deref()].into_iter().take(1 + usize::from(postgres.is_some())) {
        for &keys in sizes {
            let name = format!("{}, {keys} keys", if database.is_some() { "PostgreSQL" } else { "SQLite" });
            eprintln!("{name}");
            let place = Place::new(database)?;
            place.set_up()?;
            fill(&place.url, keys)?;
            place.recover_log()?;
            let server = Server::start(&place)?;
            for (number, (page, path)) in views::all(&server)?.into_iter().enumerate() {
                let timed = time(&server, &path).with_context(|| page.clone())?;
                eprintln!("{:8.1} {:8.1} {:8.1} ms  {page}", timed.first, timed.median, timed.late);
                pages.entry(number).or_insert_with(|| (page, Vec::new())).1.push(timed);
            }
            exports.push((name.clone(), export::measure(&server)?));
            names.push(name);
        }
    }
    println!("Milliseconds, median / 99th percentile of {TIMES} requests one after the other:\n");
    println!("| page | {} |\n|---|{}", names.join(" | "), "---|".repeat(names.len()));
    for (page, timed) in pages.values() {
        let cells = timed.iter().map(|timed| format!("{:.1} / {:.1}", timed.median, timed.late));
        println!("| {page} | {} |", cells.collect::<Vec<_>>().join(" | "));
    }
    println!("\n| CSV | lines | seconds | MiB before | MiB at most |\n|---|---|---|---|---|");
    for (name, export) in exports {
        let Export { lines, seconds, before, most } = export;
        println!("| {name} | {lines} | {seconds:.1} | {before:.1} | {most:.1} |");
    }
    Ok(())
}

fn time(server: &Server, path: &str) -> Result<Timed> {
    let first = server.time(path)?;
    let times = if first > SLOW { SLOW_TIMES } else { TIMES };
    let mut all = (0..times).map(|_| server.time(path)).collect::<Result<Vec<_>>>()?;
    all.sort_by(f64::total_cmp);
    let late = all[(times * 99 / 100).min(times - 1)];
    Ok(Timed { first, median: all[times / 2], late })
}
