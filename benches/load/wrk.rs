//! One run of wrk against one peer.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::peers::Peer;

/// The request to repeat.
pub(crate) struct Request<'a> {
    /// The path.
    pub(crate) path: &'a str,
    /// The key, with its scheme.
    pub(crate) authorization: &'a str,
    /// A script, for anything other than a GET with this key.
    pub(crate) script: Option<&'a Path>,
    /// Whether it must be refused.
    pub(crate) refused: bool,
}

/// The result of one run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// Requests per second.
    pub(crate) rate: f64,
    /// The median latency, in milliseconds.
    pub(crate) p50: f64,
    /// The 99th percentile, in milliseconds.
    pub(crate) p99: f64,
    /// CPU time of the peer per request, in microseconds.
    pub(crate) cpu: f64,
}

/// Sends requests as fast as the peer responds, over this many connections for this many seconds.
pub(crate) fn run(peer: &Peer, request: &Request<'_>, connections: usize, seconds: u32) -> Result<Run> {
    let mut wrk = Command::new("wrk");
    wrk.args(["-t1", &format!("-c{connections}"), &format!("-d{seconds}s"), "--latency"])
        .args(["-H", &format!("Authorization: {}", request.authorization)]);
    if let Some(script) = request.script {
        wrk.arg("-s").arg(script);
    }
    wrk.arg(format!("http://{}{}", peer.address, request.path));
    let before = peer.cpu()?;
    let output = wrk.output().context("wrk")?;
    let used = peer.cpu()? - before;
    let text = String::from_utf8(output.stdout)?;
    ensure!(output.status.success() && !text.contains("Socket errors"), "wrk failed:\n{text}");
    let after = |mark: &str| {
        let rest = text.lines().find_map(|line| line.trim().strip_prefix(mark));
        rest.map(str::trim).with_context(|| format!("wrk says no {mark}:\n{text}"))
    };
    let requests: f64 = text
        .lines()
        .find_map(|line| line.trim().split_once(" requests in "))
        .context("wrk says how many requests it made")?
        .0
        .parse()?;
    let refused: f64 =
        if text.contains("Non-2xx") { after("Non-2xx or 3xx responses:")?.parse()? } else { 0.0 };
    let expected = if request.refused { requests } else { 0.0 };
    ensure!(refused == expected, "{refused} of {requests} calls of {} were refused", request.path);
    Ok(Run {
        rate: after("Requests/sec:")?.parse()?,
        p50: milliseconds(after("50%")?)?,
        p99: milliseconds(after("99%")?)?,
        cpu: used / requests * 1e6,
    })
}

/// A time as wrk prints it: `18.00us`, `1.20ms`, `2.00s`.
fn milliseconds(text: &str) -> Result<f64> {
    let (number, unit) = text.split_at(text.find(|letter: char| letter.is_alphabetic()).context("a unit")?);
    let factor = match unit {
        "us" => 0.001,
        "ms" => 1.0,
        _ => 1000.0,
    };
    Ok(number.parse::<f64>()? * factor)
}
