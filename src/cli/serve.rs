//! `keydesk serve`.

use std::collections::HashMap;
use std::sync::Arc;

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::app::Application;
use crate::catalogue::current::CurrentCatalogue;
use crate::cli::output::{Failure, print};
use crate::cli::{log, open};
use crate::config::{Config, Options, Source};
use crate::db::Db;
use crate::installation;
use crate::path;
use crate::time::Time;

/// The flags of `serve`: one for each configuration option that is not a secret.
#[derive(Default)]
pub struct Serve {
    /// The values of the given flags, by the variable of their option.
    flags: HashMap<String, String>,
}

impl Args for Serve {
    fn augment_args(command: Command) -> Command {
        let flags = flags().map(|(variable, flag)| {
            // `options_help` lists the flags beside the variables.
            Arg::new(variable).long(flag.trim_start_matches("--").to_owned()).hide(true)
        });
        command.args(flags).after_help(options_help())
    }

    fn augment_args_for_update(command: Command) -> Command {
        Serve::augment_args(command)
    }
}

impl FromArgMatches for Serve {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Serve, clap::Error> {
        let given = flags().filter_map(|(variable, _)| {
            let value = matches.get_one::<String>(&variable)?.clone();
            Some((variable, value))
        });
        Ok(Serve { flags: given.collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Serve::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The variable and the flag of every option that is not a secret.
fn flags() -> impl Iterator<Item = (String, String)> {
    Options::definitions().into_iter().flat_map(|option| {
        let flag = |variable: String| option.flag_of(&variable).map(|flag| (variable, flag));
        option.variables().into_iter().filter_map(flag).collect::<Vec<_>>()
    })
}

/// The configuration options by group, for the help.
fn options_help() -> String {
    let mut help = "Configuration (environment variable, flag or file, default):\n".to_owned();
    let mut group = "";
    for option in Options::definitions() {
        if option.group != group {
            group = option.group;
            help.push_str(&format!("\n{group}\n"));
        }
        let places: Vec<_> = [option.flag(), option.file_variable()].into_iter().flatten().collect();
        help.push_str(&format!(
            "  {}, {} [{}]\n      {}\n",
            option.variable,
            places.join(" or "),
            option.default,
            option.help
        ));
    }
    help.replace('`', "")
}

impl Serve {
    /// Serves until SIGTERM or Ctrl+C.
    pub fn run(self) -> Result<(), Failure> {
        let flag = |variable: &str| self.flags.get(variable).cloned();
        let config = Config::load(&Source { flag: &flag, env: &open::environment });
        // Even if the configuration is refused, warnings are logged: a misspelt variable may be the cause.
        let _log = log::start(config.as_ref().map_or("warn", |config| &config.options.log));
        warn_of_unknown_variables();
        let config = config?;
        let catalogue =
            CurrentCatalogue::open(config.options.models_file.clone(), open::environment, Time::now())
                .map_err(|error| Failure::Usage(format!("KEYDESK_MODELS_FILE: {error}")))?;
        let catalogue = Arc::new(catalogue);
        if config.options.models_file.is_some() && config.options.upstream_url.is_some() {
            tracing::warn!("KEYDESK_UPSTREAM_URL is not used, because KEYDESK_MODELS_FILE is set");
        }
        Db::await_answer(&config.database, config.options.start_timeout);
        let (db, keyring) = open::database(&config)?;
        let runtime = actix_web::rt::System::new();
        let result = runtime.block_on(async move {
            let setup_token = installation::setup_token(&db, &keyring)?;
            // Before the server is known to listen, so that no signal ends it.
            let hangups =
                signal(SignalKind::hangup()).map_err(|error| Failure::Refused(error.to_string()))?;
            tokio::spawn(reload_at_each(hangups, catalogue.clone()));
            let application = Application::build(config, db, keyring, catalogue)
                .await
                .map_err(|error| Failure::Usage(error.to_string()))?;
            let address = application.address();
            // The server also runs if standard output is closed.
            let _ = print(&format!("listening on http://{address}"));
            if let Some(token) = setup_token {
                let link = application.site().public_url.link(&path::setup().query("token", token));
                let _ = print(&format!("Set up Keydesk here, once: {link}"));
            }
            application.run_until(stop_signal()).await.map_err(|error| Failure::Refused(error.to_string()))
        });
        // Dropping the runtime would wait for running database reads whose clients are gone.
        std::mem::forget(runtime);
        result
    }
}

/// Warns of misspelt variables, which would otherwise be ignored silently.
fn warn_of_unknown_variables() {
    let options = Options::definitions();
    for (name, _) in std::env::vars_os() {
        let Some(name) = name.to_str().filter(|name| name.starts_with("KEYDESK_")) else {
            continue;
        };
        if !options.iter().any(|option| option.has_variable(name)) {
            tracing::warn!(name, "unknown variable; this version of Keydesk ignores it");
        }
    }
}

/// Reads the model catalogue again at each signal.
async fn reload_at_each(mut hangups: Signal, catalogue: Arc<CurrentCatalogue>) {
    while hangups.recv().await.is_some() {
        let catalogue = catalogue.clone();
        let reloaded = tokio::task::spawn_blocking(move || catalogue.reload(Time::now())).await;
        match reloaded {
            Ok(Ok(Some(difference))) => {
                tracing::info!(changes = difference.summary(), "reloaded the model catalogue");
            }
            Ok(Ok(None)) => tracing::info!("nothing to read again, because KEYDESK_MODELS_FILE is not set"),
            Ok(Err(error)) => tracing::error!(
                cause = %error,
                "reloading the model catalogue failed; the previous one stays in effect"
            ),
            Err(error) => tracing::error!(cause = %error, "reading the model catalogue again failed"),
        }
    }
}

/// Resolves at SIGTERM or Ctrl+C.
async fn stop_signal() {
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => signal.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = terminated => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
