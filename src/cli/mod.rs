//! The command line. Results go to standard output, everything else to standard error.
//!
//! Exit status: 0 success, 1 the command was refused or found a problem, 2 wrong usage or configuration.

pub mod audit;
pub mod key;
pub mod log;
pub mod open;
pub mod secret;
pub mod serve;
pub mod setup;
pub mod user;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::ConfigError;

#[derive(Parser)]
#[command(name = "keydesk", version, about = "Issues, watches and retires the API keys of an AI platform", after_help = HELP)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

const HELP: &str = "The default command is serve. `keydesk serve --help` lists the configuration.";

#[derive(Subcommand)]
enum Command {
    /// Start the server: portal, API and gateway
    Serve(serve::Serve),
    /// Set up the organisation and its first owner without a browser
    Setup(setup::Setup),
    /// Create, list, change, rotate and revoke API keys
    Key {
        #[command(subcommand)]
        action: key::Action,
    },
    /// Export, verify and recover the audit log
    Audit {
        #[command(subcommand)]
        action: audit::Action,
    },
    /// Follow the replacement of the root secret
    Secret {
        #[command(subcommand)]
        action: secret::Action,
    },
    /// List people, reset their passwords, disable and enable them
    User {
        #[command(subcommand)]
        action: user::Action,
    },
}

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// The command was refused or found a problem. Exit status 1.
    Refused(String),
    /// Wrong usage or configuration. Exit status 2.
    Usage(String),
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
        Failure::Usage(error.to_string())
    }
}

/// Parses the command line and runs the command.
pub fn run() -> ExitCode {
    // Other users can't read any file that Keydesk or its libraries create.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let command = Cli::parse().command.unwrap_or_else(|| Command::Serve(serve::Serve::default()));
    let result = match command {
        Command::Serve(serve) => serve.run(),
        Command::Setup(setup) => setup.run(),
        Command::Key { action } => action.run(),
        Command::Audit { action } => action.run(),
        Command::Secret { action } => action.run(),
        Command::User { action } => action.run(),
    };
    let (message, status) = match result {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Refused(message)) => (message, 1),
        Err(Failure::Usage(message)) => (message, 2),
    };
    eprintln!("keydesk: {message}");
    ExitCode::from(status)
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
        Failure::Refused(format!("the key can't be printed ({error}), so it is lost. {remedy}"))
    })
}

fn write_out(text: &str) -> std::io::Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}
