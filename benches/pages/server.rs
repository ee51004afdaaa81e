//! A Keydesk with its own database, and a signed-in person.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use diesel::connection::SimpleConnection;
use diesel::{Connection, PgConnection};
use tempfile::TempDir;
use ureq::Agent;

const KEYDESK: &str = env!("CARGO_BIN_EXE_keydesk");
const PASSWORD: &str = "a long password for measuring";
/// After this time, the background work of the start is done.
const SETTLE: Duration = Duration::from_secs(5);

/// A data directory and a database, deleted when dropped.
pub(crate) struct Place {
    data: TempDir,
    pub(crate) url: String,
    /// The PostgreSQL server, and the database there.
    created: Option<(String, String)>,
}

impl Place {
    /// A new one: a file, or a database on a PostgreSQL server.
    pub(crate) fn new(postgres: Option<&str>) -> Result<Place> {
        let data = tempfile::tempdir()?;
        let Some(server) = postgres else {
            let url = format!("sqlite:{}", data.path().join("keydesk.sqlite3").display());
            return Ok(Place { data, url, created: None });
        };
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let name = format!("keydesk_pages_{}", since.as_millis());
        let url = format!("{server}/{name}");
        PgConnection::establish(&format!("{server}/postgres"))?
            .batch_execute(&format!("CREATE DATABASE {name}"))?;
        Ok(Place { data, url, created: Some((server.to_owned(), name)) })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(KEYDESK);
        command
            .args(arguments)
            .env("KEYDESK_DATA_DIR", self.data.path())
            .env("KEYDESK_DATABASE_URL", &self.url)
            .env("KEYDESK_LISTEN", "127.0.0.1:0")
            .stderr(Stdio::null());
        command
    }

    /// Sets up an organisation with an owner.
    pub(crate) fn set_up(&self) -> Result<()> {
        let words = ["setup", "--org", "Large", "--name", "Ada", "--email", "ada@example.com"];
        let mut command = self.command(&words);
        let mut child =
            command.arg("--password-stdin").stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        child.stdin.take().context("its input")?.write_all(PASSWORD.as_bytes())?;
        ensure!(child.wait()?.success(), "the organisation was not set up");
        Ok(())
    }

    /// Makes Keydesk adopt entries that were written without it, as an operator recovers a broken log.
    pub(crate) fn recover_log(&self) -> Result<()> {
        let words = ["audit", "recover", "--org", "large", "--new-name"];
        let status = self.command(&words).stdout(Stdio::null()).status()?;
        ensure!(status.success(), "the audit log was not taken over");
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some((server, name)) = &self.created
            && let Ok(mut conn) = PgConnection::establish(&format!("{server}/postgres"))
        {
            let _ = conn.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)"));
        }
    }
}

/// A server, and its owner's session.
pub(crate) struct Server {
    child: Child,
    base: String,
    cookie: String,
    agent: Agent,
    /// Kept open so that the process can write.
    _output: BufReader<ChildStdout>,
}

impl Server {
    /// Starts it and signs in.
    pub(crate) fn start(place: &Place) -> Result<Server> {
        let mut child = place.command(&["serve"]).stdout(Stdio::piped()).spawn()?;
        let mut output = BufReader::new(child.stdout.take().context("its output")?);
        let mut line = String::new();
        output.read_line(&mut line)?;
        let base = line.trim().strip_prefix("listening on ").context("keydesk did not start")?.to_owned();
        let config = Agent::config_builder().http_status_as_error(false).max_redirects(0).build();
        let agent = Agent::new_with_config(config);
        let form = [("email", "ada@example.com"), ("password", PASSWORD)];
        let answer =
            agent.post(format!("{base}/sign-in")).header("Sec-Fetch-Site", "same-origin").send_form(form)?;
        let cookies = answer.headers().get_all("set-cookie").iter();
        let pairs = cookies.filter_map(|cookie| cookie.to_str().ok()?.split(';').next());
        let cookie = pairs.collect::<Vec<_>>().join("; ");
        std::thread::sleep(SETTLE);
        Ok(Server { child, base, cookie, agent, _output: output })
    }

    /// The body of a page.
    pub(crate) fn get(&self, path: &str) -> Result<String> {
        let mut body = String::new();
        self.open(path)?.read_to_string(&mut body)?;
        Ok(body)
    }

    /// The body of a page as a stream.
    pub(crate) fn open(&self, path: &str) -> Result<impl Read + use<>> {
        let answer = self.agent.get(format!("{}{path}", self.base)).header("Cookie", &self.cookie).call()?;
        ensure!(answer.status() == 200, "{path}: {}", answer.status());
        Ok(answer.into_body().into_reader())
    }

    /// The time of a page, in milliseconds.
    pub(crate) fn time(&self, path: &str) -> Result<f64> {
        let began = Instant::now();
        self.get(path)?;
        Ok(began.elapsed().as_secs_f64() * 1e3)
    }

    /// The process.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
