//! The measured processes: nginx in three roles, a bare actix server, and Keydesk.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// The response of the upstream: a chat completion of typical size.
pub(crate) const ANSWER: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1800000000,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Keys open doors."},"finish_reason":"stop"}],"usage":{"prompt_tokens":12,"completion_tokens":4,"total_tokens":16}}"#;

const KEYDESK: &str = env!("CARGO_BIN_EXE_keydesk");
const PATIENCE: Duration = Duration::from_secs(30);
/// How long background work may continue after a start.
const SETTLING: Duration = Duration::from_secs(180);
/// CPU time, in seconds within two seconds, of a server that only follows its feed.
const IDLE: f64 = 0.05;
/// The unit of the times in /proc (`getconf CLK_TCK` is 100 on current Linux systems).
const TICKS_PER_SECOND: f64 = 100.0;

/// A process that is killed when dropped.
pub(crate) struct Peer {
    child: Child,
    /// The address on which it listens.
    pub(crate) address: SocketAddr,
    /// Kept open so that the process can write.
    _output: Option<BufReader<ChildStdout>>,
}

impl Peer {
    /// nginx as one process, with this body of its `http` block.
    pub(crate) fn nginx(dir: &Path, name: &str, http: impl FnOnce(SocketAddr) -> String) -> Result<Peer> {
        let dir = dir.join(name);
        fs::create_dir(&dir)?;
        let address = free_address()?;
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|kind| format!("{kind}_temp_path {};\n", dir.join(kind).display()))
            .collect();
        let body = http(address);
        let text = format!(
            "daemon off; master_process off; pid {pid}; error_log {log};\n\
             events {{ worker_connections 1024; }}\n\
             http {{ access_log off; keepalive_requests 100000000; keepalive_timeout 600s;\n{temporary}{body} }}\n",
            pid = dir.join("pid").display(),
            log = dir.join("log").display(),
        );
        fs::write(dir.join("conf"), text)?;
        let child = Command::new("/usr/sbin/nginx").arg("-c").arg(dir.join("conf")).spawn()?;
        Peer { child, address, _output: None }.reached()
    }

    /// This program, started as a bare actix server.
    pub(crate) fn bare() -> Result<Peer> {
        let address = free_address()?;
        let child = Command::new(std::env::current_exe()?).args(["bare", &address.to_string()]).spawn()?;
        Peer { child, address, _output: None }.reached()
    }

    /// Starts `keydesk serve` on a data directory and waits until it prints its address.
    pub(crate) fn keydesk(data: &Path, upstream: SocketAddr) -> Result<Peer> {
        let mut child = command(data)
            .arg("serve")
            // nginx does not log requests either.
            .env("KEYDESK_LOG", "warn")
            .env("KEYDESK_UPSTREAM_URL", format!("http://{upstream}/v1"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut output = BufReader::new(child.stdout.take().context("its output is read here")?);
        let mut line = String::new();
        output.read_line(&mut line)?;
        let address = line.trim().strip_prefix("listening on http://").context("keydesk did not start")?;
        Ok(Peer { child, address: address.parse()?, _output: Some(output) })
    }

    fn reached(self) -> Result<Peer> {
        let deadline = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(self.address).is_err() {
            ensure!(Instant::now() < deadline, "{} is not reached", self.address);
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(self)
    }

    /// User and system CPU time used so far, in seconds.
    pub(crate) fn cpu(&self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The second field is the name in brackets; user and system time are the 14th and 15th.
        let (_, fields) = stat.rsplit_once(')').context("a name")?;
        let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
        Ok(ticks.sum::<Result<f64, _>>()? / TICKS_PER_SECOND)
    }

    /// Waits until it is idle for two seconds.
    pub(crate) fn settled(&self) -> Result<()> {
        let deadline = Instant::now() + SETTLING;
        loop {
            let before = self.cpu()?;
            std::thread::sleep(Duration::from_secs(2));
            if self.cpu()? - before < IDLE {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{} is never idle", self.address);
        }
    }

    /// Current memory, in bytes.
    pub(crate) fn resident(&self) -> Result<u64> {
        resident(&self.child.id().to_string())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The memory of a process, in bytes.
pub(crate) fn resident(process: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes * 1024)
}

/// Keydesk on a data directory and a free port, with the highest possible limit.
fn command(data: &Path) -> Command {
    let mut command = Command::new(KEYDESK);
    command
        .env("KEYDESK_DATA_DIR", data)
        .env("KEYDESK_LISTEN", "127.0.0.1:0")
        .env("KEYDESK_DEFAULT_RPM", "1000000");
    command
}

/// Sets up an organisation and returns its slug.
pub(crate) fn set_up(data: &Path) -> Result<String> {
    let mut child = command(data)
        .args(["setup", "--org", "Bench", "--name", "Ada", "--email", "ada@example.com", "--password-stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    child.stdin.take().context("its input is written here")?.write_all(b"a password for a benchmark")?;
    printed(child)
}

/// Creates a key for inference and returns its secret.
pub(crate) fn make_key(data: &Path, org: &str, name: &str) -> Result<String> {
    let scopes = "inference:read,inference:write";
    let child = command(data)
        .args(["key", "create", "--org", org, "--name", name, "--scope", scopes])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    printed(child)
}

fn printed(child: Child) -> Result<String> {
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("keydesk: {}", output.status);
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// An address on loopback that was free a moment ago.
pub(crate) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
