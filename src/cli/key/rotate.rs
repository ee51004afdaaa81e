//! `keydesk key rotate`.

use zeroize::Zeroizing;

use crate::api::object;
use crate::cli::key::Target;
use crate::cli::key::command::KeyCommand;
use crate::cli::open;
use crate::cli::output::{Failure, note, print_secret, require_output};
use crate::error::Error;
use crate::keys::rotation::{self, parse_overlap};

/// The error of a rotation that is not committed.
const NOT_ROTATED: Error = Error::Conflict(
    "The key was not rotated: another change came between. A secret that was printed does not work. Try again.",
);

/// Rotates a key, if its new secret can be printed.
pub(super) fn run(target: &Target, overlap: &str) -> Result<(), Failure> {
    let overlap = parse_overlap(Some(overlap)).map_err(|_| {
        Failure::Usage(format!("--overlap is {overlap:?}. Use a duration from 0s to 30d, such as 24h."))
    })?;
    let command = KeyCommand::open(&target.org)?;
    let defaults = command.defaults();
    let id = command.find(&target.key)?.id;
    require_output()?;
    let mut unprinted = None;
    let mut is_printed = false;
    let rotated = command.change(|tx, acting| {
        if is_printed {
            // A conflict with another transaction came after printing, so a repetition would print another secret.
            return Err(NOT_ROTATED);
        }
        let (key, secret) = rotation::rotate(tx, acting, &defaults, id, overlap)?;
        let text = if target.json {
            let mut object = object::key(&key, command.now);
            object["key"] = secret.expose().into();
            Zeroizing::new(object.to_string())
        } else {
            Zeroizing::new(secret.expose().to_owned())
        };
        // Before the commit: if the secret can't be printed, the key keeps its old one.
        if let Err(error) = print_secret(&text) {
            unprinted = Some(error);
            return Err(NOT_ROTATED);
        }
        is_printed = true;
        Ok(key)
    });
    if let Some(error) = unprinted {
        return Err(Failure::Refused(format!(
            "the new secret can't be printed ({error}). The key was not rotated and keeps its secret."
        )));
    }
    let key = rotated?;
    let overlap_end = key.previous.as_ref().map(|old| old.ends_at.rfc3339()).unwrap_or_default();
    note(format_args!(
        "Rotated {} ({}). The old secret works until {overlap_end}. The new secret is shown only this once.",
        key.name, key.id
    ));
    // Printed first: the secret must not be lost if waiting fails.
    open::wait_for_servers(&command.db, &command.config)?;
    Ok(())
}
