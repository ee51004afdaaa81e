//! A long export, and the memory that the server takes for it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::server::Server;

/// How many lines are read at most.
const LINES: usize = 1_000_000;

/// What it took.
pub(crate) struct Export {
    pub(crate) lines: usize,
    pub(crate) seconds: f64,
    /// MiB that the server held before, and at most meanwhile.
    pub(crate) before: f64,
    pub(crate) most: f64,
}

/// Reads an export of all counts of 90 days while looking at the server's memory.
pub(crate) fn measure(server: &Server) -> Result<Export> {
    let (before, done) = (resident(server.process())?, AtomicBool::new(false));
    let began = Instant::now();
    let (lines, most) = std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut most = before;
            while !done.load(Ordering::Relaxed) {
                most = most.max(resident(server.process()).unwrap_or(0.0));
                std::thread::sleep(Duration::from_millis(20));
            }
            most
        });
        let lines = read(server);
        done.store(true, Ordering::Relaxed);
        lines.and_then(|lines| Ok((lines, watch.join().ok().context("the memory's watch")?)))
    })?;
    Ok(Export { lines, seconds: began.elapsed().as_secs_f64(), before, most })
}

fn read(server: &Server) -> Result<usize> {
    let mut lines = 0;
    for line in BufReader::new(server.open("/o/large/usage.csv?range=90d")?).lines().take(LINES) {
        line?;
        lines += 1;
    }
    Ok(lines)
}

/// MiB that a process holds.
fn resident(process: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes / 1024.0)
}
