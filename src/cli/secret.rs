//! `keydesk secret`: how far the replacement of the root secret has come.

use clap::Subcommand;

use crate::cli::{Failure, print, store};
use crate::keys::roots;
use crate::time::Time;

/// What to do.
#[derive(Subcommand)]
pub enum Act {
    /// Tell how many secrets of API keys still use the root secret before this one; exits 1 while any do
    Status,
}

impl Act {
    /// Carries it out.
    pub fn run(self) -> Result<(), Failure> {
        let Act::Status = self;
        let config = store::config()?;
        let (db, keyring, _) = store::open_existing(&config)?;
        let (own, now) = (keyring.root_tag(), Time::now());
        let (all, left) = db.read_now(|conn| {
            Ok((roots::working(conn, None, now)?, roots::under_others(conn, own, None, now)?))
        })?;
        if left > 0 {
            return Err(Failure::Refused(format!(
                "{left} of {all} secrets of working API keys use another root secret than KEYDESK_SECRET. Keep \
                 KEYDESK_SECRET_PREVIOUS set."
            )));
        }
        print(&format!("All {all} secrets of working API keys use KEYDESK_SECRET."))
    }
}
