//! Verifies the logs of the database and recovers a broken one.

use crate::audit::checkpoint::{Signer, Verifier};
use crate::audit::recovery::{self, Outcome};
use crate::audit::verify::{Fault, LogCheck, Progress, TrustAnchors};
use crate::audit::{head, log, register, signing};
use crate::authority::{Change, RequestSource};
use crate::cli::audit::report::{first_bad, proof_of_log};
use crate::cli::open;
use crate::cli::output::{Failure, note, print};
use crate::db::Db;
use crate::installation::SealState;
use crate::orgs::principal::CommandLine;
use crate::time::Time;

/// Recovers the broken log of an organisation.
pub(super) fn recover(slug: &str, new_name: bool) -> Result<(), Failure> {
    let config = open::config()?;
    let (db, keyring) = open::database(&config)?;
    let orgs = db.read_now(log::orgs)?;
    let org = orgs.into_iter().find(|(_, known)| known == slug).map(|(org, _)| org);
    let org = org.ok_or_else(|| Failure::Refused(format!("there is no organisation {slug:?}.")))?;
    let signers = Signer::all(&keyring)?;
    let mut check = db.read_now(|conn| LogCheck::begin(conn, db.logs(), org, &signers, None, 0))?;
    if let Err(fault) = walk(&db, &mut check)? {
        note(format_args!("{slug}: {}", first_bad(&fault)));
        let (index, why) = (fault.index.cast_signed(), fault.why.as_str());
        db.write_now(|tx| head::mark_broken(tx, org, Some(index), why))?;
    }
    let (name, now) = (signing::name(&config.host(), slug), Time::now());
    let change = Change::new(CommandLine { org }, org, RequestSource::default(), now);
    match change.commit_now(&db, |tx, acting| recovery::recover(tx, acting, &name, new_name))? {
        Outcome::Intact => print(&format!("{slug}: the log is not known to be broken."))?,
        Outcome::Repaired => {
            print(&format!(
                "{slug}: all entries are intact, and the data derived from them was rebuilt. Compare the log \
                 with a checkpoint that you kept outside: it could be an older copy."
            ))?;
        }
        Outcome::Renamed(name) => print(&format!(
            "{slug}: the log continues as {name}. Its earlier entries are not proven. Restart running servers."
        ))?,
        Outcome::Refused => {
            return Err(Failure::Refused(format!(
                "{slug}: entries of this log were altered, so it can't continue under its name. Restore an \
                 earlier backup, or copy the database and pass --new-name."
            )));
        }
    }
    Ok(())
}

/// Verifies the logs of the database.
pub(super) fn check(anchors: &TrustAnchors) -> Result<(), Failure> {
    let config = open::config()?;
    let (db, keyring, seal_state) = open::existing(&config)?;
    let seal = match seal_state {
        SealState::Current => keyring.log_seal(),
        SealState::Replaced | SealState::Overtaken => {
            keyring.previous_log_seal().unwrap_or_else(|| keyring.log_seal())
        }
        SealState::Unsealed => {
            return Err(Failure::Refused(
                "the logs of this database come from a version of Keydesk that did not authenticate them. \
                 Start the server of this version once, then verify."
                    .into(),
            ));
        }
    };
    db.logs().unlock(seal, None, true);
    let logs = db.logs();
    let signers = Signer::all(&keyring)?;
    let name = anchors.key.as_ref().map(Verifier::name);
    let name = name.or(anchors.checkpoint.as_ref().map(|checkpoint| checkpoint.origin.as_str()));
    let register = db.read_now(|conn| register::check(conn, logs))?;
    let all = db.read_now(log::orgs)?;
    let missing = register.faults.iter().filter(|(org, _)| !all.iter().any(|(known, _)| known == org));
    let mut faults: Vec<String> = missing.map(|(org, why)| format!("{org}: {why}")).collect();
    let mut others = Vec::new();
    let mut found = false;
    for (org, slug) in all {
        let key = anchors.key.as_ref();
        let mut check = db.read_now(|conn| LogCheck::begin(conn, logs, org, &signers, key, 0))?;
        if name.is_some() && check.head().origin.as_deref() != name {
            // Report its faults if no log has the name: the name itself may have been altered.
            others.extend(check.wrong().map(|fault| format!("{slug}: {}", first_bad(fault))));
            continue;
        }
        found = true;
        let registered = register.faults.iter().find(|(broken, _)| *broken == org);
        let result = match (walk(&db, &mut check)?, registered) {
            (Ok(size), Some((_, why))) => Err(Fault { index: size, why: (*why).to_owned() }),
            (Ok(size), None) => compare(&db, &check, size, anchors)?,
            (fault, _) => fault,
        };
        match result {
            Ok(size) => {
                let proof = proof_of_log(anchors, check.by_key(), size);
                print(&format!("{slug}: {size} entries, unbroken, {proof}"))?;
            }
            Err(fault) => faults.push(format!("{slug}: {}", first_bad(&fault))),
        }
    }
    if !found {
        faults.extend(others);
    }
    match (faults.is_empty(), found, name) {
        (false, _, _) => Err(Failure::Refused(faults.join("\n"))),
        (true, false, Some(name)) => {
            Err(Failure::Refused(format!("no log in this database has the name {name}.")))
        }
        _ => Ok(()),
    }
}

/// Verifies a log to its end. Returns the number of its entries.
fn walk(db: &Db, check: &mut LogCheck) -> Result<Result<u64, Fault>, Failure> {
    loop {
        match db.read_now(|conn| check.step(conn))? {
            Progress::More => {}
            Progress::Intact(size) => return Ok(Ok(size)),
            Progress::Broken(fault) => return Ok(Err(fault)),
        }
    }
}

/// Compares a log that is consistent with the database with the key and checkpoint from outside.
fn compare(
    db: &Db,
    check: &LogCheck,
    size: u64,
    anchors: &TrustAnchors,
) -> Result<Result<u64, Fault>, Failure> {
    if anchors.key.is_some() && check.by_key().is_none() && check.has_kept() {
        let why = "none of the stored checkpoints is signed by the key that --key names";
        return Ok(Err(Fault { index: size, why: why.into() }));
    }
    let Some(checkpoint) = &anchors.checkpoint else { return Ok(Ok(size)) };
    if checkpoint.size > size {
        return Ok(Err(Fault { index: size, why: "it is missing: the checkpoint covers it".into() }));
    }
    let root = db.read_now(|conn| check.root_at(conn, checkpoint.size))?;
    if root != checkpoint.root {
        let why = "this entry or a later one differs from what the checkpoint covers";
        return Ok(Err(Fault { index: 0, why: why.into() }));
    }
    Ok(Ok(size))
}
