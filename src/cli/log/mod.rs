//! The log on standard error. Lines are buffered briefly and written together, since one system call per
//! line would cost a request as much as the check of its key.

mod level;
mod line;

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format::{self, Format};

/// Longest time that a line waits.
const FLUSH_PAUSE: Duration = Duration::from_millis(5);
/// Buffered bytes beyond which the logging thread writes the buffer itself.
const MAX_BUFFERED: usize = 1 << 20;

/// Writes buffered lines when it is dropped.
pub struct Log(Option<Lines>);

/// Starts the log with a valid filter: text on a terminal, without a buffer, and JSON lines elsewhere.
pub fn start(filter: &str) -> Log {
    let log = tracing_subscriber::fmt().with_env_filter(EnvFilter::new(filter));
    if io::stderr().is_terminal() {
        let fields = format::debug_fn(line::write_field).delimited(" ");
        log.fmt_fields(fields).event_format(line::Plain(Format::default())).with_writer(io::stderr).init();
        return Log(None);
    }
    let lines = Lines::start();
    let writer = lines.clone();
    log.event_format(line::Json).with_writer(move || writer.clone()).init();
    Log(Some(lines))
}

impl Drop for Log {
    fn drop(&mut self) {
        if let Some(lines) = &self.0 {
            lines.write_out();
        }
    }
}

/// The buffer of lines.
#[derive(Clone)]
struct Lines {
    buffer: Arc<Mutex<Vec<u8>>>,
    writer: Thread,
}

impl Lines {
    fn start() -> Lines {
        let buffer = Arc::<Mutex<Vec<u8>>>::default();
        let shared = buffer.clone();
        let writer = thread::spawn(move || {
            let lines = Lines { buffer: shared, writer: thread::current() };
            loop {
                thread::park();
                thread::sleep(FLUSH_PAUSE);
                lines.write_out();
            }
        });
        Lines { buffer, writer: writer.thread().clone() }
    }

    fn write_out(&self) {
        // Locked before the buffer, so that lines keep their order.
        let mut out = io::stderr().lock();
        let lines = std::mem::take(&mut *self.lock());
        // An error can't be reported anywhere.
        let _ = out.write_all(&lines);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let (before, after) = {
            let mut buffer = self.lock();
            let before = buffer.len();
            buffer.extend_from_slice(line);
            (before, buffer.len())
        };
        if before == 0 {
            self.writer.unpark();
        } else if after > MAX_BUFFERED {
            self.write_out();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
