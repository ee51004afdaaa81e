//! The log on standard error. Lines are gathered for a moment and written together, since a
//! system call for each would cost a request as much as checking its key does.

mod level;
mod line;

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format::{self, Format};

use crate::cli::Failure;

/// How long a line may wait.
const PAUSE: Duration = Duration::from_millis(5);
/// How many bytes may wait; whoever adds more writes them.
const MOST: usize = 1 << 20;

/// The log, until it is dropped; what waits is written then.
pub struct Log(Option<Lines>);

/// Starts the log. A terminal sees each line at once; JSON lines go anywhere else.
pub fn start(filter: Option<String>) -> Result<Log, Failure> {
    let filter = filter.unwrap_or_else(|| "info,actix_server=warn".to_owned());
    let filter = EnvFilter::try_new(&filter).map_err(|_| {
        Failure::Misused(format!(
            "KEYDESK_LOG is {filter:?}. Write a filter such as info or keydesk=debug,warn."
        ))
    })?;
    let log = tracing_subscriber::fmt().with_env_filter(filter);
    if io::stderr().is_terminal() {
        let fields = format::debug_fn(line::write_field).delimited(" ");
        log.fmt_fields(fields).event_format(line::Plain(Format::default())).with_writer(io::stderr).init();
        return Ok(Log(None));
    }
    let lines = Lines::start();
    let writer = lines.clone();
    log.event_format(line::Json).with_writer(move || writer.clone()).init();
    Ok(Log(Some(lines)))
}

impl Drop for Log {
    fn drop(&mut self) {
        if let Some(lines) = &self.0 {
            lines.write_out();
        }
    }
}

/// Lines that wait to be written.
#[derive(Clone)]
struct Lines {
    waiting: Arc<Mutex<Vec<u8>>>,
    writer: Thread,
}

impl Lines {
    fn start() -> Lines {
        let waiting = Arc::<Mutex<Vec<u8>>>::default();
        let shared = waiting.clone();
        let writer = thread::spawn(move || {
            let lines = Lines { waiting: shared, writer: thread::current() };
            loop {
                thread::park();
                thread::sleep(PAUSE);
                lines.write_out();
            }
        });
        Lines { waiting, writer: writer.thread().clone() }
    }

    fn write_out(&self) {
        // Taken first, so that lines keep their order.
        let mut out = io::stderr().lock();
        let lines = std::mem::take(&mut *self.lock());
        // There is nowhere to say that the log can't be written.
        let _ = out.write_all(&lines);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let (before, after) = {
            let mut waiting = self.lock();
            let before = waiting.len();
            waiting.extend_from_slice(line);
            (before, waiting.len())
        };
        if before == 0 {
            self.writer.unpark();
        } else if after > MOST {
            self.write_out();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
