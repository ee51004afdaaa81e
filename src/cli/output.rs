//! Results and failures of commands.

use std::io::Write;

use crate::config::ConfigError;
use crate::error::Error;

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// The command was refused or found a problem. Exit status 1.
    Refused(String),
    /// Wrong usage or configuration. Exit status 2.
    Usage(String),
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

/// Prints a result. A closed pipe, as with `| head`, is not an error.
///
/// Errors: `Refused`.
pub fn print(text: &str) -> Result<(), Failure> {
    match write_out(text) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::Refused(format!("the result can't be printed: {error}.")))
        }
        _ => Ok(()),
    }
}

/// Prints a secret that can't be shown again. `remedy` tells people what to do if printing fails.
///
/// Errors: `Refused`.
pub fn print_once(text: &str, remedy: &str) -> Result<(), Failure> {
    write_out(text).map_err(|error| {
        Failure::Refused(format!("the secret can't be printed ({error}) and is lost. {remedy}"))
    })
}

fn write_out(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}
