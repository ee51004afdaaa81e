//! What `keydesk audit verify` reports.

use crate::audit::checkpoint::Checkpoint;
use crate::audit::verify::{Fault, TrustAnchors};

/// Describes what the verification of an exported log proves.
pub(super) fn proof_of_file(anchors: &TrustAnchors, size: u64) -> String {
    match (&anchors.key, &anchors.checkpoint) {
        (Some(_), None) => "signed as a whole with the key from outside. A key alone does not show whether \
                            this is an older copy. Compare it with a checkpoint that you kept outside: \
                            --checkpoint."
            .to_owned(),
        (_, checkpoint) => proof_by_checkpoint(checkpoint.as_ref(), size),
    }
}

/// Describes what the verification of a log in the database proves. The whole database could be an older
/// copy, so a key proves only that its owner once signed these entries.
pub(super) fn proof_of_log(anchors: &TrustAnchors, by_key: Option<u64>, size: u64) -> String {
    match (&anchors.checkpoint, &anchors.key, by_key) {
        (None, Some(_), Some(signed)) => {
            let rest = if signed < size { " The others are self-consistent only." } else { "" };
            format!(
                "and the first {signed} of them are in a stored checkpoint that the key from outside has \
                 signed.{rest} A key alone does not show whether the log was put back to an older state. \
                 Compare it with a checkpoint that you kept outside: --checkpoint."
            )
        }
        (None, Some(_), None) => "self-consistent only. The database stores no checkpoint yet, so the key \
                                  proves nothing. Pass a --checkpoint that you kept outside."
            .to_owned(),
        (checkpoint, _, _) => proof_by_checkpoint(checkpoint.as_ref(), size),
    }
}

/// Describes what a checkpoint from outside proves.
fn proof_by_checkpoint(checkpoint: Option<&Checkpoint>, size: u64) -> String {
    match checkpoint {
        // Only the log itself covers the entries after the checkpoint.
        Some(checkpoint) if checkpoint.size < size => format!(
            "the checkpoint from outside confirms the first {} of them. The others are self-consistent only.",
            checkpoint.size
        ),
        Some(_) => "the checkpoint from outside confirms them.".to_owned(),
        None => "self-consistent only. Pass a --key or --checkpoint that you kept outside, to compare \
                 the log with something that a person who changed the database could not change."
            .to_owned(),
    }
}

/// Describes the first bad entry.
pub(super) fn first_bad(fault: &Fault) -> String {
    format!("first bad entry: {} ({})", fault.index, fault.why)
}
