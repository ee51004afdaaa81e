//! `keydesk secret`: the progress of a replacement of the root secret.

use clap::Subcommand;

use crate::cli::open;
use crate::cli::output::{Failure, print};
use crate::keys::roots;
use crate::time::Time;

/// The actions of `keydesk secret`.
#[derive(Subcommand)]
pub enum Action {
    /// Show how many secrets of API keys still use the previous root secret; exit with 1 if any do
    Status,
}

impl Action {
    pub fn run(self) -> Result<(), Failure> {
        let Action::Status = self;
        let config = open::config()?;
        let (db, keyring, _) = open::existing(&config)?;
        let (own, now) = (keyring.root_tag(), Time::now());
        let (all, left) = db.read_now(|conn| {
            Ok((roots::working(conn, None, now)?, roots::under_others(conn, own, None, now)?))
        })?;
        if left > 0 {
            return Err(Failure::Refused(format!(
                "{left} of {all} secrets of working API keys do not use KEYDESK_SECRET yet. Keep \
                 KEYDESK_SECRET_PREVIOUS set."
            )));
        }
        print(&format!("All {all} secrets of working API keys use KEYDESK_SECRET."))
    }
}
