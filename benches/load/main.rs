//! Keydesk under load, compared with nginx and a bare actix server, interleaved in one run on loopback. Prints
//! the measurements and their targets; `benches/run` installs the required programs.
//!
//! Other load on the same processors distorts rates and high percentiles. CPU time per request and the ratio of
//! two peers within a round are reliable; both are printed as the median of the rounds.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![allow(clippy::print_stdout, reason = "it reports to a person")]

#[path = "../common/mod.rs"]
mod common;
mod held;
mod peers;
mod report;
mod stream;
mod wrk;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use actix_web::{App, HttpResponse, HttpServer, web};
use anyhow::{Context, Result, anyhow};
use keydesk::keys::secret::PlainSecret;

use crate::peers::{ANSWER, Peer};
use crate::report::{CONNECTIONS, Peers, Report, Round};
use crate::wrk::{Request, Run};

const ROUNDS: usize = 5;
const SECONDS: u32 = 1;
const HELD: usize = 1_000_000;
const STORED: usize = 100_000;
const STARTS: usize = 5;
const STREAMS: usize = 50;
/// More requests than one second can use.
const STRANGERS: usize = 40_000;
const CHAT: &str = r#"{"model":"m","messages":[{"role":"system","content":"Answer in one sentence."},{"role":"user","content":"What do keys do?"}]}"#;
/// A well-formed secret with a valid checksum that belongs to no key.
const UNKNOWN: &str = "Bearer kd_zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ01234567892Hf9po";
const MALFORMED: &str = "Bearer kd_not-a-key-at-all-but-about-as-long-as-one-00000";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["bare", address] => bare(address),
        ["held"] => {
            println!("{}", held::bytes_per_key(HELD)?);
            Ok(())
        }
        // `cargo test --benches` runs without it, and must not take minutes.
        words if !words.contains(&"--bench") => Ok(()),
        _ => measure(),
    }
}

/// A server that only responds, with the settings of Keydesk's server.
fn bare(address: &str) -> Result<()> {
    let server = HttpServer::new(|| App::new().route("/", web::get().to(HttpResponse::Ok)))
        .bind(address)?
        .tcp_nodelay(true);
    actix_web::rt::System::new().block_on(server.run())?;
    Ok(())
}

fn measure() -> Result<()> {
    let began = Instant::now();
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("data");
    let org = peers::set_up(&data)?;
    // A bucket holds a million requests, so each kind of request has its own key.
    let key = |name: &str| peers::make_key(&data, &org, name);
    let (checked, forwarded, streamed) = (key("checked")?, key("forwarded")?, key("streamed")?);
    held::add_keys(&data, STORED)?;

    let floor = Peer::nginx(dir.path(), "floor", |address| {
        format!("server {{ listen {address}; location / {{ return 200; }} }}")
    })?;
    let upstream = Peer::nginx(dir.path(), "upstream", |address| {
        format!(
            "server {{ listen {address}; default_type application/json; location / {{ return 200 '{ANSWER}'; }} }}"
        )
    })?;
    let proxy = Peer::nginx(dir.path(), "proxy", |address| {
        format!(
            "map_hash_bucket_size 256; map $http_authorization $known {{ default 0; \"Bearer {forwarded}\" 1; }}\n\
             upstream models {{ server {}; keepalive 64; }}\n\
             server {{ listen {address}; location / {{ if ($known = 0) {{ return 401; }}\n\
             proxy_pass http://models; proxy_http_version 1.1; proxy_set_header Connection \"\"; }} }}",
            upstream.address
        )
    })?;
    let bare = Peer::bare()?;
    let mut report = Report { rounds: Vec::new(), ..Report::default() };
    let (keydesk, starts) = started(&data, &upstream)?;
    report.start = starts;
    report.idle = keydesk.resident()?;
    let peers = Peers { floor, upstream, proxy, bare, keydesk };
    let script = dir.path().join("post.lua");
    fs::write(
        &script,
        format!(
            "wrk.method = 'POST'\nwrk.headers['Content-Type'] = 'application/json'\nwrk.body = [[{CHAT}]]\n"
        ),
    )?;
    for number in 1..=ROUNDS {
        eprintln!("round {number} of {ROUNDS}");
        report.rounds.push(round(&peers, &checked, &forwarded, &script)?);
    }
    report.loaded = peers.keydesk.resident()?;
    report.streams = streams(&data, &streamed)?;
    let held = Command::new(std::env::current_exe()?).arg("held").output()?;
    report.held = String::from_utf8(held.stdout)?.trim().parse().context("bytes of a key")?;
    report.print();
    println!("\nMeasured in {} s.", began.elapsed().as_secs());
    Ok(())
}

/// Starts Keydesk several times, each time until it is ready; the last one keeps running.
fn started(data: &Path, upstream: &Peer) -> Result<(Peer, Vec<f64>)> {
    let mut times = Vec::new();
    loop {
        let began = Instant::now();
        let peer = Peer::keydesk(data, upstream.address)?;
        ureq::get(format!("http://{}/readyz", peer.address)).call().context("ready")?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
        if times.len() == STARTS {
            // Keys are reviewed in the background after a start, which is not what a request costs.
            peer.settled()?;
            return Ok((peer, times));
        }
    }
}

/// Runs every peer once at each number of connections; peers to compare run one after the other.
fn round(peers: &Peers, checked: &str, forwarded: &str, script: &Path) -> Result<Round> {
    let bearer = |key: &str| format!("Bearer {key}");
    let (checked, forwarded) = (bearer(checked), bearer(forwarded));
    let get = |path, authorization, refused| Request { path, authorization, script: None, refused };
    let check = |authorization, refused| get("/v1/authorize", authorization, refused);
    let strangers = strangers(script)?;
    let stranger = Request { script: Some(&strangers), ..check(UNKNOWN, true) };
    let chat = Request {
        path: "/v1/chat/completions",
        authorization: &forwarded,
        script: Some(script),
        refused: false,
    };
    let each = |peer: &Peer, request: &Request<'_>| -> Result<[Run; CONNECTIONS.len()]> {
        let runs = CONNECTIONS.map(|connections| wrk::run(peer, request, connections, SECONDS));
        let [one, some, many] = runs;
        Ok([one?, some?, many?])
    };
    Ok(Round {
        floor: each(&peers.floor, &get("/", &checked, false))?,
        bare: each(&peers.bare, &get("/", &checked, false))?,
        checked: each(&peers.keydesk, &check(&checked, false))?,
        unknown: wrk::run(&peers.keydesk, &check(UNKNOWN, true), CONNECTIONS[1], SECONDS)?,
        malformed: wrk::run(&peers.keydesk, &check(MALFORMED, true), CONNECTIONS[1], SECONDS)?,
        upstream: each(&peers.upstream, &chat)?,
        proxy: each(&peers.proxy, &chat)?,
        forwarded: each(&peers.keydesk, &chat)?,
        strangers: wrk::run(&peers.keydesk, &stranger, CONNECTIONS[1], SECONDS)?,
    })
}

/// A script that sends a different well-formed, unknown secret with every request.
fn strangers(beside: &Path) -> Result<PathBuf> {
    let mut text = "local keys = {\n".to_owned();
    for _ in 0..STRANGERS {
        let secret = PlainSecret::generate("kd").map_err(|error| anyhow!("{error}"))?;
        text.push_str(&format!("'{}',\n", secret.expose()));
    }
    text.push_str(
        "}\nlocal i = 0\nfunction request()\n  i = i % #keys + 1\n  \
         return wrk.format(nil, nil, { Authorization = 'Bearer ' .. keys[i] })\nend\n",
    );
    let file = beside.with_file_name("strangers.lua");
    fs::write(&file, text)?;
    Ok(file)
}

/// Times of streams through a separate Keydesk.
fn streams(data: &Path, key: &str) -> Result<Vec<f64>> {
    let upstream = stream::Upstream::start()?;
    let keydesk = Peer::keydesk(data, upstream.address)?;
    (0..STREAMS).map(|_| upstream.time(keydesk.address, key)).collect()
}
