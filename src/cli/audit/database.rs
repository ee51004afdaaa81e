//! The logs of the database: checking them, and going on with one that is broken.

use crate::audit::checkpoint::{Signer, Verifier};
use crate::audit::recovery::{self, Outcome};
use crate::audit::verify::{Fault, Outside, Progress, Stepwise};
use crate::audit::{head, log, register, signing};
use crate::authority::{Change, RequestSource};
use crate::cli::audit::{by_checkpoint, first_bad};
use crate::cli::{Failure, print, store as open};
use crate::db::Db;
use crate::installation::Standing;
use crate::orgs::principal::CommandLine;
use crate::time::Time;

/// Goes on with the log of an organisation that is broken.
pub(super) fn recover(slug: &str, new_name: bool) -> Result<(), Failure> {
    let config = open::config()?;
    let (db, keyring) = open::open(&config)?;
    let orgs = db.read_now(log::orgs)?;
    let org = orgs.into_iter().find(|(_, known)| known == slug).map(|(org, _)| org);
    let org = org.ok_or_else(|| Failure::Refused(format!("there is no organisation {slug:?}.")))?;
    let signers = Signer::all(&keyring)?;
    let mut check = db.read_now(|conn| Stepwise::begin(conn, db.logs(), org, &signers, None, 0))?;
    if let Err(fault) = walk(&db, &mut check)? {
        eprintln!("{slug}: {}", first_bad(&fault));
        let (index, why) = (fault.index.cast_signed(), fault.why.as_str());
        db.write_now(|tx| head::mark_broken(tx, org, Some(index), why))?;
    }
    let (name, now) = (signing::name(&config.host(), slug), Time::now());
    let change = Change::new(CommandLine { org }, org, RequestSource::default(), now);
    match change.commit_now(&db, |tx, acting| recovery::recover(tx, acting, &name, new_name))? {
        Outcome::Sound => print(&format!("{slug}: the log is not broken, as far as is known."))?,
        Outcome::Repaired => {
            print(&format!(
                "{slug}: all entries are what was written, and what is derived from them was \
                 made again. Compare the log with a checkpoint kept elsewhere: it could be an older copy."
            ))?;
        }
        Outcome::Renamed(name) => print(&format!(
            "{slug}: the log goes on as {name}. What it held before is not proven. Restart running servers."
        ))?,
        Outcome::Refused => {
            return Err(Failure::Refused(format!(
                "{slug}: entries of this log are not what was written, so it can't go on under its name. \
                 Restore a backup from before, or copy the database and pass --new-name."
            )));
        }
    }
    Ok(())
}

/// Checks the logs of the database.
pub(super) fn check(outside: &Outside) -> Result<(), Failure> {
    let config = open::config()?;
    let (db, keyring, standing) = open::open_existing(&config)?;
    let seal = match standing {
        Standing::Settled => keyring.log_seal(),
        Standing::Replaced | Standing::Overtaken => {
            keyring.previous_log_seal().unwrap_or_else(|| keyring.log_seal())
        }
        Standing::Unsealed => {
            return Err(Failure::Refused(
                "the logs of this database come from a version that did not authenticate them. Start the \
                 server of this version once, then verify."
                    .into(),
            ));
        }
    };
    db.logs().unlock(seal, None, true);
    let logs = db.logs();
    let signers = Signer::all(&keyring)?;
    let wanted = outside.key.as_ref().map(Verifier::name);
    let wanted = wanted.or(outside.checkpoint.as_ref().map(|checkpoint| checkpoint.origin.as_str()));
    let survey = db.read_now(|conn| register::survey(conn, logs))?;
    let all = db.read_now(log::orgs)?;
    let gone = survey.faults.iter().filter(|(org, _)| !all.iter().any(|(known, _)| known == org));
    let mut faults: Vec<String> = gone.map(|(org, why)| format!("{org}: {why}")).collect();
    let mut others = Vec::new();
    let mut found = false;
    for (org, slug) in all {
        let key = outside.key.as_ref();
        let mut check = db.read_now(|conn| Stepwise::begin(conn, logs, org, &signers, key, 0))?;
        if wanted.is_some() && check.head().origin.as_deref() != wanted {
            // Its name may have been changed, too.
            others.extend(check.wrong().map(|fault| format!("{slug}: {}", first_bad(fault))));
            continue;
        }
        found = true;
        let around = survey.faults.iter().find(|(broken, _)| *broken == org);
        let result = match (walk(&db, &mut check)?, around) {
            (Ok(size), Some((_, why))) => Err(Fault { index: size, why: (*why).to_owned() }),
            (Ok(size), None) => compare(&db, &check, size, outside)?,
            (fault, _) => fault,
        };
        match result {
            Ok(size) => {
                let proven = proven(outside, check.by_key(), size);
                print(&format!("{slug}: {size} entries, unbroken, {proven}"))?;
            }
            Err(fault) => faults.push(format!("{slug}: {}", first_bad(&fault))),
        }
    }
    if !found {
        faults.extend(others);
    }
    match (faults.is_empty(), found, wanted) {
        (false, _, _) => Err(Failure::Refused(faults.join("\n"))),
        (true, false, Some(name)) => Err(Failure::Refused(format!("no log here has the name {name}."))),
        _ => Ok(()),
    }
}

/// Checks a log to its end.
fn walk(db: &Db, check: &mut Stepwise) -> Result<Result<u64, Fault>, Failure> {
    loop {
        match db.read_now(|conn| check.step(conn))? {
            Progress::More => {}
            Progress::Sound(size) => return Ok(Ok(size)),
            Progress::Broken(fault) => return Ok(Err(fault)),
        }
    }
}

/// A log that fits what is in the database against what came from outside.
fn compare(db: &Db, check: &Stepwise, size: u64, outside: &Outside) -> Result<Result<u64, Fault>, Failure> {
    if outside.key.is_some() && check.by_key().is_none() && check.has_kept() {
        let why = "none of the kept checkpoints is signed by the key of --key";
        return Ok(Err(Fault { index: size, why: why.into() }));
    }
    let Some(told) = &outside.checkpoint else { return Ok(Ok(size)) };
    if told.size > size {
        return Ok(Err(Fault { index: size, why: "it is missing: the checkpoint knows of it".into() }));
    }
    let root = db.read_now(|conn| check.root_at(conn, told.size))?;
    if root != told.root {
        let why = "it, or one behind it, is not what the checkpoint vouches for";
        return Ok(Err(Fault { index: 0, why: why.into() }));
    }
    Ok(Ok(size))
}

/// What is proven of a log of so many entries in the database. Everything there could be an older copy,
/// so a key proves no more than that its owner once signed what is there.
fn proven(outside: &Outside, by_key: Option<u64>, size: u64) -> String {
    match (&outside.checkpoint, &outside.key, by_key) {
        (None, Some(_), Some(signed)) => {
            let rest = if signed < size { " The others are self-consistent only." } else { "" };
            format!(
                "and the first {signed} of them are in a kept checkpoint that the key from outside has \
                 signed.{rest} A key alone does not show whether the log was put back to an older state: \
                 compare it with a checkpoint that was kept elsewhere, by --checkpoint."
            )
        }
        (None, Some(_), None) => "self-consistent only: no checkpoint is kept here yet, so the key proves \
                                  nothing. Give --checkpoint, kept elsewhere."
            .to_owned(),
        (checkpoint, _, _) => by_checkpoint(checkpoint.as_ref(), size),
    }
}
