//! The command line. Results go to standard output, everything else to standard error.
//!
//! Exit status: 0 success, 1 the command was refused or found a problem, 2 wrong usage or configuration.

pub mod audit;
pub mod key;
pub mod log;
pub mod open;
pub mod output;
pub mod secret;
pub mod serve;
pub mod setup;
pub mod user;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::cli::output::{Failure, note};

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

/// Parses the command line and runs the command.
pub fn run() -> ExitCode {
    // Other users can't read any file that Keydesk or its libraries create.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(help_or_error) => return print_help(&help_or_error),
    };
    let command = cli.command.unwrap_or_else(|| Command::Serve(serve::Serve::default()));
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
        Err(Failure::PipeClosed) => return ExitCode::from(1),
    };
    note(format_args!("keydesk: {message}"));
    ExitCode::from(status)
}

/// Prints what clap answers to `--help`, `--version` and wrong usage.
fn print_help(answer: &clap::Error) -> ExitCode {
    let printed = answer.print().and_then(|()| std::io::stdout().flush());
    let status = if answer.use_stderr() { 2 } else { u8::from(printed.is_err()) };
    ExitCode::from(status)
}
