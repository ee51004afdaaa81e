//! The command line. Results go to standard output, everything else to standard error.
//!
//! Exit status: 0 done, 1 refused or found, 2 wrong usage or configuration.

pub mod audit;
pub mod key;
pub mod log;
pub mod secret;
pub mod serve;
pub mod setup;
pub mod store;
pub mod user;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::settings::ConfigError;

#[derive(Parser)]
#[command(name = "keydesk", version, about = "Issues, watches and retires the API keys of an AI platform", after_help = HELP)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

const HELP: &str = "Without a command it serves. `keydesk serve --help` lists the configuration.";

#[derive(Subcommand)]
enum Command {
    /// Start the server: portal, API and gateway
    Serve(Box<serve::Serve>),
    /// Set up the organisation and its first owner without a browser
    Setup(setup::Setup),
    /// Create, list, change and end API keys
    Key {
        /// What to do
        #[command(subcommand)]
        act: key::Act,
    },
    /// Export the audit log, and check it
    Audit {
        /// What to do
        #[command(subcommand)]
        act: audit::Act,
    },
    /// Follow the replacement of the root secret
    Secret {
        /// What to do
        #[command(subcommand)]
        act: secret::Act,
    },
    /// Find people and give them a new password
    User {
        /// What to do
        #[command(subcommand)]
        act: user::Act,
    },
}

/// Why a command ended without doing what it was asked.
#[derive(Debug)]
pub enum Failure {
    /// Refused: exit status 1.
    Refused(String),
    /// Wrong usage or configuration: exit status 2.
    Misused(String),
}

impl From<crate::error::Error> for Failure {
    fn from(error: crate::error::Error) -> Failure {
        match std::error::Error::source(&error) {
            Some(cause) => Failure::Refused(format!("{error} {cause}")),
            None => Failure::Refused(error.to_string()),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Failure {
        Failure::Misused(error.to_string())
    }
}

/// Reads the command line and carries it out.
pub fn run() -> ExitCode {
    // No file that Keydesk or its libraries create is readable for other users.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let command = Cli::parse().command.unwrap_or_else(|| Command::Serve(Box::default()));
    let result = match command {
        Command::Serve(serve) => serve.run(),
        Command::Setup(setup) => setup.run(),
        Command::Key { act } => act.run(),
        Command::Audit { act } => act.run(),
        Command::Secret { act } => act.run(),
        Command::User { act } => act.run(),
    };
    let (message, status) = match result {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Refused(message)) => (message, 1),
        Err(Failure::Misused(message)) => (message, 2),
    };
    eprintln!("keydesk: {message}");
    ExitCode::from(status)
}

/// Prints a result.
///
/// Errors: `Refused`, except for a reader that went away, as `| head` does.
pub fn print(text: &str) -> Result<(), Failure> {
    match write_out(text) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::Refused(format!("the result can't be printed: {error}.")))
        }
        _ => Ok(()),
    }
}

/// Prints what nobody can have again. `lost` says what to do if it can't be printed.
///
/// Errors: `Refused`.
pub fn print_once(text: &str, lost: &str) -> Result<(), Failure> {
    write_out(text).map_err(|error| {
        Failure::Refused(format!("the key can't be printed ({error}), so it is lost. {lost}"))
    })
}

fn write_out(text: &str) -> std::io::Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}
