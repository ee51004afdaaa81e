//! A server for one test, and clients for it.

mod client;
mod database;
pub mod github;
pub mod mail;
pub mod oidc;
mod people;
pub mod plan;
pub mod programs;
pub mod raw;
pub mod scripted;
pub mod stage;
pub mod stream;
pub mod stub;
pub mod tampering;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

pub use client::{Answer, Api, Browser, Page};
pub use database::Database;
use keydesk::app::routes::ROUTES;
use keydesk::web::permission::Permission;
use tempfile::TempDir;

pub const PASSWORD: &str = "correct horse battery staple";

/// Method, pattern and permission of every route.
pub static TABLE: LazyLock<Vec<(&'static str, &'static str, Permission)>> = LazyLock::new(|| {
    let endpoints = ROUTES.iter().map(|route| route.endpoint);
    endpoints.map(|route| (route.method.name(), route.path.as_str(), route.permission)).collect()
});

/// A place to run Keydesk in: data directory, database and environment.
pub struct Desk {
    pub data: TempDir,
    pub database: Database,
    env: Vec<(String, String)>,
}

/// A running server; stopped when dropped.
pub struct Server {
    child: Child,
    pub base: String,
    pub setup_link: Option<String>,
    log: PathBuf,
}

/// An organisation with its owner and an `admin` key.
pub struct Org {
    pub slug: String,
    pub email: String,
    pub admin: Api,
}

impl Desk {
    pub fn new() -> Desk {
        let data = TempDir::new().unwrap();
        let database = Database::new(data.path());
        Desk { data, database, env: Vec::new() }
    }

    pub fn with(mut self, variable: &str, value: &str) -> Desk {
        self.env.retain(|(name, _)| name != variable);
        self.env.push((variable.to_owned(), value.to_owned()));
        self
    }

    /// Without a variable that was set before.
    pub fn without(mut self, variable: &str) -> Desk {
        self.env.retain(|(name, _)| name != variable);
        self
    }

    /// A command with nothing but this desk's environment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        // Another build can be named, such as the one that is to be released.
        let binary = std::env::var_os("KEYDESK_BINARY").unwrap_or(env!("CARGO_BIN_EXE_keydesk").into());
        let mut command = Command::new(binary);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("KEYDESK_")) {
            command.env_remove(name);
        }
        command
            .args(arguments)
            .env("KEYDESK_DATA_DIR", self.data.path())
            .env("KEYDESK_DATABASE_URL", &self.database.url)
            .env("KEYDESK_LISTEN", "127.0.0.1:0")
            // Tests that are about these say something else.
            .env("KEYDESK_DRAIN", "0s")
            .env("KEYDESK_START_TIMEOUT", "0s")
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(self.data.path());
        command
    }

    /// Runs a command and waits for it.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).stdin(Stdio::null()).output().unwrap()
    }

    /// Runs a command with something on its standard input.
    pub fn run_with_input(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Starts the server and waits until it listens.
    pub fn start(&self) -> Server {
        self.start_by(self.command(&[]))
    }

    /// The same with a limit on open files.
    pub fn start_with_descriptors(&self, most: u32) -> Server {
        let plain = self.command(&[]);
        let mut limited = Command::new("sh");
        limited.args(["-c", &format!("ulimit -n {most} && exec \"$0\"")]).arg(plain.get_program());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("KEYDESK_")) {
            limited.env_remove(name);
        }
        let variables = plain.get_envs().filter_map(|(name, value)| Some((name, value?)));
        limited.envs(variables).current_dir(self.data.path());
        self.start_by(limited)
    }

    fn start_by(&self, mut command: Command) -> Server {
        let log = self.data.path().join(format!("log-{}", unique()));
        let mut child =
            command.stdout(Stdio::piped()).stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let Some(first) = lines.next() else {
            child.wait().unwrap();
            panic!("the server did not start: {}", std::fs::read_to_string(&log).unwrap());
        };
        let base = first.unwrap().strip_prefix("listening on ").unwrap().to_owned();
        // The link follows at once when there is one; whether there is, the database knows.
        let setup_link = if self.is_set_up(&base) {
            None
        } else {
            let line = lines.next().unwrap().unwrap();
            Some(line[line.find("http").unwrap()..].to_owned())
        };
        // Someone must read on, or the server would block on a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Server { child, base, setup_link, log }
    }

    fn is_set_up(&self, base: &str) -> bool {
        Browser::new(base).get("/").header("location").is_some_and(|path| path != "/setup")
    }

    /// Sets up an organisation by the command line and makes an `admin` key for it.
    pub fn set_up(&self, server: &Server, name: &str) -> Org {
        let email = format!("owner-{}@example.com", unique());
        let arguments = [
            "setup",
            "--another",
            "--org",
            name,
            "--name",
            "Ada Lovelace",
            "--email",
            &email,
            "--password-stdin",
        ];
        let slug = text(&self.run_with_input(&arguments, PASSWORD));
        let admin = self.key(&slug, "admin-key", "admin");
        Org { admin: Api::new(&server.base, &admin), slug, email }
    }

    /// Makes a key by the command line.
    pub fn key(&self, org: &str, name: &str, scopes: &str) -> String {
        text(&self.run(&["key", "create", "--org", org, "--name", name, "--scope", scopes]))
    }
}

impl Server {
    /// How much memory it holds, in KiB.
    pub fn memory(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    pub fn browser(&self) -> Browser {
        Browser::new(&self.base)
    }

    pub fn api(&self, key: &str) -> Api {
        Api::new(&self.base, key)
    }

    /// A browser signed in as the organisation's owner.
    pub fn signed_in(&self, org: &Org) -> Browser {
        self.signed_in_with(org, PASSWORD)
    }

    /// The same with another password.
    pub fn signed_in_with(&self, org: &Org, password: &str) -> Browser {
        let mut browser = self.browser();
        let page = browser.post("/sign-in", &[("email", &org.email), ("password", password)]);
        assert_eq!(page.status, 303, "{}", page.body);
        browser
    }

    /// A browser signed in as the person with this address and the usual password.
    pub fn signed_in_as(&self, email: &str) -> Browser {
        let mut browser = self.browser();
        let page = browser.post("/sign-in", &[("email", email), ("password", PASSWORD)]);
        assert_eq!(page.status, 303, "{}", page.body);
        browser
    }

    /// Waits until it has logged a text; it writes its log in batches.
    pub fn wait_for_log(&self, text: &str) {
        eventually(&format!("{text:?} in the log"), || {
            std::fs::read_to_string(&self.log).unwrap().contains(text)
        });
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until it has logged this after the first `seen` bytes.
    pub fn wait_for_log_after(&self, seen: usize, text: &str) {
        eventually(&format!("{text:?} in the log"), || self.log()[seen..].contains(text));
    }

    /// All that it logged until it was asked to stop.
    pub fn whole_log(self) -> String {
        let log = self.log.clone();
        assert_eq!(self.stop(), Some(0));
        std::fs::read_to_string(log).unwrap()
    }

    /// Asks the server to stop and returns its exit status.
    pub fn stop(self) -> Option<i32> {
        self.ask_to_stop();
        self.wait()
    }

    pub fn ask_to_stop(&self) {
        self.signal("-TERM");
    }

    /// Asks the server to read its model catalogue again.
    pub fn ask_to_reload(&self) {
        self.signal("-HUP");
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits until the server has ended.
    pub fn wait(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// Kills the server immediately.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Kills the server while clients are using it.
    pub fn kill_now(&self) {
        self.signal("-KILL");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            log.lines()
                .filter(|line| line.contains("\"WARN\"") || line.contains("\"ERROR\""))
                .for_each(|line| eprintln!("server: {line}"));
        }
    }
}

/// A desk, its server and one organisation: what most tests begin with.
pub fn desk() -> (Desk, Server, Org) {
    let desk = Desk::new();
    let server = desk.start();
    let org = desk.set_up(&server, "Acme AI");
    (desk, server, org)
}

/// Standard output of a command that succeeded, trimmed.
pub fn text(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout.clone()).unwrap().trim().to_owned()
}

/// Waits for something that is to become true, and fails when it does not within 20 s.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(20), "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn unique() -> u128 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    u128::from(std::process::id()) << 64 | u128::from(NEXT.fetch_add(1, Ordering::Relaxed))
}

pub fn is_key(text: &str) -> bool {
    text.strip_prefix("kd_")
        .is_some_and(|body| body.len() == 46 && body.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// Whether a file or one beside it holds a text.
pub fn directory_contains(directory: &Path, needle: &str) -> bool {
    std::fs::read_dir(directory).unwrap().any(|entry| {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap_or_default();
        bytes.windows(needle.len()).any(|window| window == needle.as_bytes())
    })
}
