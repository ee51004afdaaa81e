//! Opens the database with its secret, for every command.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::audit;
use crate::audit::register::Register;
use crate::cli::output::Failure;
use crate::config::{Config, ConfigError, Source};
use crate::crypto::{Keyring, Root};
use crate::db::{Db, Location, Tx, Unsuitable};
use crate::error::{Error, Result};
use crate::installation::{self, ConfiguredSecrets, SealState};
use crate::keys::{feed, roots};
use crate::time::Time;

/// Pause between two checks of whether all servers have applied a change.
const CHECK_PAUSE: Duration = Duration::from_millis(10);

/// Reads the configuration from environment variables.
pub fn config() -> Result<Config, Failure> {
    Ok(Config::load(&Source { flag: &|_| None, env: &environment })?)
}

/// Returns the value of an environment variable.
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Opens the database, checks that the secret belongs to it, and authenticates all audit logs under
/// that secret.
pub fn database(config: &Config) -> Result<(Db, Keyring), Failure> {
    let (db, keyring, seal_state) = unsettled(config)?;
    let announce = |tx: &mut Tx<'_>| feed::set_root(tx, keyring.root_tag());
    audit::sealing::seal_logs(&db, &keyring, config.options.secret_previous.as_ref(), seal_state, announce)?;
    require_all_secrets(&db, &keyring, seal_state)?;
    Ok((db, keyring))
}

/// Refuses to run without the previous root secret while keys need it.
fn require_all_secrets(db: &Db, keyring: &Keyring, seal_state: SealState) -> Result<(), Failure> {
    let previous = keyring.previous_root_tag();
    // An earlier version did not record which of two root secrets a key uses.
    let unrecorded = match (previous, seal_state) {
        (None, _) => Some(keyring.root_tag()),
        (Some(previous), SealState::Replaced) => Some(previous),
        _ => None,
    };
    let own = keyring.root_tag();
    db.write_now(|tx| {
        if seal_state != SealState::Overtaken {
            feed::set_root(tx, own)?;
        }
        unrecorded.map_or(Ok(()), |root| roots::note_unknown(tx, root))
    })?;
    if let Some(previous) = previous {
        let lost = db.read_now(|conn| roots::under_none_of(conn, [own, previous], None, Time::now()))?;
        return if lost == 0 {
            Ok(())
        } else {
            Err(Failure::Usage(format!(
                "{lost} of the secrets of working API keys use a root secret that is neither KEYDESK_SECRET nor \
                 KEYDESK_SECRET_PREVIOUS, and would stop working. Set KEYDESK_SECRET_PREVIOUS to the root \
                 secret that they use, and replace one root secret at a time."
            )))
        };
    }
    // A secret without a tag is under this root: during an upgrade, earlier versions go on creating such secrets.
    match db.read_now(|conn| roots::under_none_of(conn, [own, own], None, Time::now()))? {
        0 => Ok(()),
        left => Err(Failure::Usage(format!(
            "KEYDESK_SECRET_PREVIOUS is not set, but {left} {} of working API keys still {} the previous root \
             secret and would stop working. Set it again until `keydesk secret status` reports that all \
             secrets use KEYDESK_SECRET. A secret moves when its key is used; rotate or revoke keys that \
             are not used.",
            if left == 1 { "secret" } else { "secrets" },
            if left == 1 { "uses" } else { "use" },
        ))),
    }
}

/// Opens the database and checks that the secret belongs to it, without changing any audit log.
pub fn unsettled(config: &Config) -> Result<(Db, Keyring, SealState), Failure> {
    let data_dir = &config.options.data_dir;
    let created = fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir);
    created.map_err(|error| {
        ConfigError::new(
            "KEYDESK_DATA_DIR",
            format!("names {}, which can't be created: {error}.", data_dir.display()),
        )
    })?;
    let db = Db::open_with(&config.database, config.options.database_connections).map_err(|error| {
        if let Error::Conflict(message) = error {
            return Failure::Usage(message.to_owned());
        }
        let source = std::error::Error::source(&error);
        let cause = source.map(ToString::to_string).unwrap_or_default();
        let file = match &config.database {
            Location::Sqlite(path) => Some(path.display().to_string()),
            Location::Postgres(_) => None,
        };
        let file = file.as_deref();
        let problem = match source.and_then(|source| source.downcast_ref::<Unsuitable>()) {
            Some(unsuitable) => format!("{} {unsuitable}", file.unwrap_or("the PostgreSQL database")),
            None => format!("{} can't be opened: {cause}", file.unwrap_or("the PostgreSQL server")),
        };
        Failure::Usage(format!("KEYDESK_DATABASE_URL: {problem}"))
    })?;
    let file = config.secret_file();
    let keyring = installation::open(
        &db,
        &ConfiguredSecrets {
            current: config.options.secret.clone(),
            previous: config.options.secret_previous.clone(),
            stored: &|| read_secret(&file),
            generate: &|| write_secret(&file),
            begin_logs: &Register::begin,
        },
    );
    match keyring {
        Ok((keyring, seal_state)) => Ok((db, keyring, seal_state)),
        Err(Error::Conflict(message)) => Err(Failure::Usage(message.to_owned())),
        Err(error) => Err(error.into()),
    }
}

/// Like [`unsettled`], for commands that inspect a database: refuses one without an organisation, as the
/// configuration is wrong or data was lost.
pub fn existing(config: &Config) -> Result<(Db, Keyring, SealState), Failure> {
    let refused = |database: String| {
        Failure::Refused(format!(
            "there is no organisation in {database}. Check KEYDESK_DATA_DIR and KEYDESK_DATABASE_URL."
        ))
    };
    let database = match &config.database {
        Location::Sqlite(path) => path.display().to_string(),
        Location::Postgres(_) => "this PostgreSQL database".to_owned(),
    };
    if let Location::Sqlite(path) = &config.database
        && !path.exists()
    {
        return Err(refused(database));
    }
    let opened = unsettled(config)?;
    if opened.0.read_now(audit::log::orgs)?.is_empty() { Err(refused(database)) } else { Ok(opened) }
}

/// Waits until every running server has applied a change of keys, at most for `KEYDESK_MAX_STALENESS`.
pub fn wait_for_servers(db: &Db, config: &Config) -> Result<()> {
    let position = db.read_now(feed::head)?.position;
    let start = Instant::now();
    while start.elapsed() < config.options.max_staleness {
        if db.read_now(|conn| feed::is_noticed(conn, position))? {
            return Ok(());
        }
        std::thread::sleep(CHECK_PAUSE);
    }
    // They were killed, or have lost their lease and announce themselves once they are back.
    db.write_now(|tx| feed::remove_silent(tx, position, Time::now()))
}

fn read_secret(file: &Path) -> Result<Option<Root>> {
    let text = match fs::read_to_string(file) {
        Ok(text) => zeroize::Zeroizing::new(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(Error::internal(format!("{} can't be read: {error}", file.display())));
        }
    };
    let root = Root::parse(&text);
    root.map(Some).ok_or(Error::Conflict(
        "KEYDESK_SECRET: the file `secret` in the data directory is damaged. Restore it from a backup.",
    ))
}

/// Generates the secret and writes its file, or returns the secret that another process wrote first.
///
/// The file is written under another name, so that no reader finds half a secret, and then linked,
/// which fails if another process was faster.
fn write_secret(file: &Path) -> Result<Root> {
    let root = Root::generate()?;
    let failed =
        |error: std::io::Error| Error::internal(format!("{} can't be written: {error}", file.display()));
    let draft = file.with_extension(format!("draft-{}", std::process::id()));
    let mut open = fs::OpenOptions::new();
    let mut written =
        open.write(true).create(true).truncate(true).mode(0o600).open(&draft).map_err(failed)?;
    written.write_all(root.to_base64().as_bytes()).and_then(|()| written.sync_all()).map_err(failed)?;
    let linked = fs::hard_link(&draft, file);
    fs::remove_file(&draft).map_err(failed)?;
    match linked {
        Ok(()) => Ok(root),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => read_secret(file)?
            .ok_or_else(|| Error::internal("the secret file was removed while it was being read")),
        Err(error) => Err(failed(error)),
    }
}
