//! Opening the database with its secret, for every command.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::audit;
use crate::audit::register::Register;
use crate::cli::Failure;
use crate::config::Config;
use crate::crypto::{Keyring, Root};
use crate::db::{Db, Location, Tx};
use crate::error::{Error, Result};
use crate::installation::{self, Offer, Standing};
use crate::keys::{feed, roots};
use crate::settings::{ConfigError, Source};
use crate::time::Time;

/// How long to wait between two looks whether servers have taken notice.
const NOTICE_PAUSE: Duration = Duration::from_millis(10);

/// Reads the configuration from the environment alone.
pub fn config() -> Result<Config, Failure> {
    Ok(Config::load(&Source { flag: &|_| None, env: &environment })?)
}

/// A variable of the environment.
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Opens the database, proves that the secret belongs to it, and sees to it that all audit logs are
/// authenticated under it.
pub fn open(config: &Config) -> Result<(Db, Keyring), Failure> {
    let (db, keyring, standing) = open_as_it_is(config)?;
    let announce = |tx: &mut Tx<'_>| feed::set_root(tx, keyring.root_tag());
    audit::adopt::settle(&db, &keyring, config.secret_previous.as_ref(), standing, announce)?;
    require_all_secrets(&db, &keyring, standing)?;
    Ok((db, keyring))
}

/// Refuses to go on without the previous root secret while keys need it.
fn require_all_secrets(db: &Db, keyring: &Keyring, standing: Standing) -> Result<(), Failure> {
    let previous = keyring.previous_root_tag();
    // Where two root secrets were in use before this version, nobody knows.
    let before = match (previous, standing) {
        (None, _) => Some(keyring.root_tag()),
        (Some(previous), Standing::Replaced) => Some(previous),
        _ => None,
    };
    let own = keyring.root_tag();
    db.write_now(|tx| {
        if standing != Standing::Overtaken {
            feed::set_root(tx, own)?;
        }
        before.map_or(Ok(()), |root| roots::note_unknown(tx, root))
    })?;
    if let Some(previous) = previous {
        let lost = db.read_now(|conn| roots::under_none_of(conn, [own, previous], None, Time::now()))?;
        return if lost == 0 {
            Ok(())
        } else {
            Err(Failure::Misused(format!(
                "{lost} of the secrets of working API keys use a root secret that is neither KEYDESK_SECRET nor \
                 KEYDESK_SECRET_PREVIOUS, and would stop working. Set the secret that they use as \
                 KEYDESK_SECRET_PREVIOUS, and replace one secret at a time."
            )))
        };
    }
    match db.read_now(|conn| roots::under_others(conn, own, None, Time::now()))? {
        0 => Ok(()),
        left => Err(Failure::Misused(format!(
            "KEYDESK_SECRET_PREVIOUS is not set, but {left} {} of working API keys still {} the root secret before \
             this one and would stop working. Set it again until `keydesk secret status` says that none is \
             left: a secret moves when its key is used. Rotate or revoke keys that nobody uses.",
            if left == 1 { "secret" } else { "secrets" },
            if left == 1 { "uses" } else { "use" },
        ))),
    }
}

/// Opens the database and proves that the secret belongs to it, and changes nothing in audit logs.
pub fn open_as_it_is(config: &Config) -> Result<(Db, Keyring, Standing), Failure> {
    let data_dir = &config.data_dir;
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir);
    made.map_err(|error| {
        ConfigError::new("KEYDESK_DATA_DIR", format!("{} can't be made: {error}.", data_dir.display()))
    })?;
    let db = Db::open_with(&config.database, config.database_connections).map_err(|error| {
        if let Error::Conflict(message) = error {
            return Failure::Misused(message.to_owned());
        }
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        let place = match &config.database {
            Location::Sqlite(path) => path.display().to_string(),
            Location::Postgres(_) => "the PostgreSQL server".to_owned(),
        };
        Failure::Misused(format!("KEYDESK_DATABASE_URL: {place} can't be opened: {cause}"))
    })?;
    let file = config.secret_file();
    let keyring = installation::unlock(
        &db,
        &Offer {
            current: config.secret.clone(),
            previous: config.secret_previous.clone(),
            stored: &|| read_secret(&file),
            generate: &|| write_secret(&file),
            begin_logs: &Register::begin,
        },
    );
    match keyring {
        Ok((keyring, standing)) => Ok((db, keyring, standing)),
        Err(Error::Conflict(message)) => Err(Failure::Misused(message.to_owned())),
        Err(error) => Err(error.into()),
    }
}

/// [`open_as_it_is`] for commands that look at what is there: nothing there is a wrong setting, or a loss.
pub fn open_existing(config: &Config) -> Result<(Db, Keyring, Standing), Failure> {
    let nothing = |place: String| {
        Failure::Refused(format!(
            "there is no organisation in {place}. Are KEYDESK_DATA_DIR and KEYDESK_DATABASE_URL right?"
        ))
    };
    let place = match &config.database {
        Location::Sqlite(path) => path.display().to_string(),
        Location::Postgres(_) => "this PostgreSQL database".to_owned(),
    };
    if let Location::Sqlite(path) = &config.database
        && !path.exists()
    {
        return Err(nothing(place));
    }
    let opened = open_as_it_is(config)?;
    if opened.0.read_now(audit::log::orgs)?.is_empty() { Err(nothing(place)) } else { Ok(opened) }
}

/// Waits until every running server knows of a change of keys; at most for as long as one may
/// answer from memory without hearing from the database.
pub fn wait_until_noticed(db: &Db, config: &Config) -> Result<()> {
    let position = db.read_now(feed::head)?.position;
    let began = Instant::now();
    while began.elapsed() < config.max_staleness
        && !db.read_now(|conn| feed::is_noticed(conn, position, Time::now()))?
    {
        std::thread::sleep(NOTICE_PAUSE);
    }
    Ok(())
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

/// Written whole under another name first, so that no reader ever finds half a secret, and
/// linked, which fails where another process was faster.
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
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            read_secret(file)?.ok_or_else(|| Error::internal("the secret went away while it was being read"))
        }
        Err(error) => Err(failed(error)),
    }
}
