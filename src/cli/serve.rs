//! `keydesk serve`.

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use crate::app::Application;
use crate::cli::{Failure, log, print, store};
use crate::config::Config;
use crate::db::Db;
use crate::installation;
use crate::settings::{SETTINGS, Setting, Source};

/// Each flag stands for the variable of the same name; `serve --help` lists both.
#[derive(Args, Default)]
#[command(after_help = help())]
pub struct Serve {
    #[arg(long, hide = true)]
    listen: Option<String>,
    #[arg(long, hide = true)]
    public_url: Option<String>,
    #[arg(long, hide = true)]
    allow_http: Option<String>,
    #[arg(long, hide = true)]
    data_dir: Option<String>,
    #[arg(long, hide = true)]
    database_url: Option<String>,
    #[arg(long, hide = true)]
    mail_from: Option<String>,
    #[arg(long, hide = true)]
    upstream_url: Option<String>,
    #[arg(long, hide = true)]
    key_prefix: Option<String>,
    #[arg(long, hide = true)]
    notices: Option<String>,
    #[arg(long, hide = true)]
    tick: Option<String>,
    #[arg(long, hide = true)]
    max_staleness: Option<String>,
    #[arg(long, hide = true)]
    keep_alive: Option<String>,
    #[arg(long, hide = true)]
    database_connections: Option<String>,
    #[arg(long, hide = true)]
    start_timeout: Option<String>,
    #[arg(long, hide = true)]
    drain: Option<String>,
    #[arg(long, hide = true)]
    stop_timeout: Option<String>,
    #[arg(long, hide = true)]
    default_rpm: Option<String>,
    #[arg(long, hide = true)]
    trusted_proxies: Option<String>,
    #[arg(long, hide = true)]
    github_client_id: Option<String>,
    #[arg(long, hide = true)]
    github_url: Option<String>,
    #[arg(long, hide = true)]
    oidc_issuer: Option<String>,
    #[arg(long, hide = true)]
    oidc_client_id: Option<String>,
    #[arg(long, hide = true)]
    oidc_name: Option<String>,
    #[arg(long, hide = true)]
    log: Option<String>,
}

fn help() -> String {
    let mut text = "Configuration (environment variable, flag, default):\n".to_owned();
    for setting in &SETTINGS {
        let flag =
            if setting.secret { format!("or {}_FILE", setting.variable) } else { flag_of(setting.variable) };
        text.push_str(&format!(
            "\n  {}, {flag} [{}]\n      {}\n",
            setting.variable, setting.default, setting.meaning
        ));
    }
    text
}

fn flag_of(variable: &str) -> String {
    format!("--{}", variable.trim_start_matches("KEYDESK_").to_lowercase().replace('_', "-"))
}

impl Serve {
    /// Serves until SIGTERM or Ctrl+C.
    pub fn run(self: Box<Self>) -> Result<(), Failure> {
        let source = Source { flag: &|variable| self.flag(variable), env: &store::environment };
        let _log = log::start(self.flag("KEYDESK_LOG").or_else(|| store::environment("KEYDESK_LOG")))?;
        warn_of_unknown_variables();
        let config = Config::load(&source)?;
        Db::await_answer(&config.database, config.start_timeout);
        let (db, keyring) = store::open(&config)?;
        let runtime = actix_web::rt::System::new();
        let served = runtime.block_on(async move {
            let link = installation::setup_token(&db, &keyring)?;
            let application = Application::build(config, db, keyring)
                .await
                .map_err(|error| Failure::Misused(error.to_string()))?;
            let address = application.address();
            // It serves even if nobody can be told so.
            let _ = print(&format!("listening on http://{address}"));
            if let Some(token) = link {
                let link = application.site().public_url.link(&format!("/setup?token={token}"));
                let _ = print(&format!("Set up Keydesk here, once: {link}"));
            }
            application.run_until(asked_to_stop()).await.map_err(|error| Failure::Refused(error.to_string()))
        });
        // Its end would wait for reports that are still being read and for which nobody waits any more.
        std::mem::forget(runtime);
        served
    }

    fn flag(&self, variable: &str) -> Option<String> {
        let value = match variable {
            "KEYDESK_LISTEN" => &self.listen,
            "KEYDESK_PUBLIC_URL" => &self.public_url,
            "KEYDESK_ALLOW_HTTP" => &self.allow_http,
            "KEYDESK_DATA_DIR" => &self.data_dir,
            "KEYDESK_DATABASE_URL" => &self.database_url,
            "KEYDESK_MAIL_FROM" => &self.mail_from,
            "KEYDESK_UPSTREAM_URL" => &self.upstream_url,
            "KEYDESK_KEY_PREFIX" => &self.key_prefix,
            "KEYDESK_NOTICES" => &self.notices,
            "KEYDESK_TICK" => &self.tick,
            "KEYDESK_MAX_STALENESS" => &self.max_staleness,
            "KEYDESK_KEEP_ALIVE" => &self.keep_alive,
            "KEYDESK_DATABASE_CONNECTIONS" => &self.database_connections,
            "KEYDESK_START_TIMEOUT" => &self.start_timeout,
            "KEYDESK_DRAIN" => &self.drain,
            "KEYDESK_STOP_TIMEOUT" => &self.stop_timeout,
            "KEYDESK_DEFAULT_RPM" => &self.default_rpm,
            "KEYDESK_TRUSTED_PROXIES" => &self.trusted_proxies,
            "KEYDESK_GITHUB_CLIENT_ID" => &self.github_client_id,
            "KEYDESK_GITHUB_URL" => &self.github_url,
            "KEYDESK_OIDC_ISSUER" => &self.oidc_issuer,
            "KEYDESK_OIDC_CLIENT_ID" => &self.oidc_client_id,
            "KEYDESK_OIDC_NAME" => &self.oidc_name,
            "KEYDESK_LOG" => &self.log,
            _ => return None,
        };
        value.clone()
    }
}

/// A misspelt variable would otherwise be a setting that silently does not count.
fn warn_of_unknown_variables() {
    for (name, _) in std::env::vars_os() {
        let Some(name) = name.to_str().filter(|name| name.starts_with("KEYDESK_")) else {
            continue;
        };
        let plain = name.strip_suffix("_FILE").unwrap_or(name);
        let has_file = |setting: &Setting| setting.secret || setting.variable == "KEYDESK_DATABASE_URL";
        if !SETTINGS
            .iter()
            .any(|setting| setting.variable == name || (setting.variable == plain && has_file(setting)))
        {
            tracing::warn!(name, "this variable is not known to this version and does not count");
        }
    }
}

async fn asked_to_stop() {
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
