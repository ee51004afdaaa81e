//! Results and failures of commands.

use std::fmt::Display;
use std::io::Write;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;

use crate::config::ConfigError;
use crate::error::Error;

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// The command was refused or found a problem. Exit status 1.
    Refused(String),
    /// Wrong usage or configuration. Exit status 2.
    Usage(String),
    /// The reader of the output closed it, as `head` does. Exit status 1, without a message.
    PipeClosed,
}

impl Failure {
    /// The output could not be written.
    pub fn unwritten(error: std::io::Error) -> Failure {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Failure::PipeClosed,
            _ => Failure::Refused(format!("the output can't be written: {error}.")),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        match std::error::Error::source(&error) {
            Some(cause) => Failure::Refused(format!("{error} {cause}")),
            None => Failure::Refused(error.to_string()),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Failure {
        Failure::Usage(error.to_string())
    }
}

/// Prints a result.
///
/// Errors: `Refused`, `PipeClosed`.
pub fn print(text: &str) -> Result<(), Failure> {
    write_out(text).map_err(Failure::unwritten)
}

/// Prints what is not the result, to standard error. Failing to do so changes nothing.
pub fn note(text: impl Display) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Prints a secret, which can't be shown again. Does not wait for a slow reader.
///
/// Errors: why it was not printed.
pub fn print_secret(text: &str) -> std::io::Result<()> {
    let out = std::io::stdout();
    let mut ready = [PollFd::new(&out, PollFlags::OUT)];
    if poll(&mut ready, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))? == 0 {
        return Err(std::io::ErrorKind::WouldBlock.into());
    }
    write_out(text)
}

/// Checks that a secret can be printed, as far as this can be known before it exists.
///
/// Rust opens `/dev/null` for reading and writing in place of a standard output that was closed, and nothing that is
/// written there fails. So does Python's `subprocess.DEVNULL`, where the secret is lost as well. `> /dev/null` in a shell opens
/// it for writing only and remains possible.
///
/// Errors: `Refused`.
pub fn require_output() -> Result<(), Failure> {
    let is_closed = || -> rustix::io::Result<bool> {
        let out = std::io::stdout();
        let mode = rustix::fs::fcntl_getfl(&out)? & OFlags::RWMODE;
        let (out, null) = (rustix::fs::fstat(&out)?, rustix::fs::stat("/dev/null")?);
        Ok(mode == OFlags::RDWR && out.st_rdev == null.st_rdev && out.st_ino == null.st_ino)
    };
    match is_closed() {
        Ok(true) => Err(Failure::Refused(
            "standard output is closed, so the secret can't be printed. Nothing was changed.".into(),
        )),
        _ => Ok(()),
    }
}

fn write_out(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}
