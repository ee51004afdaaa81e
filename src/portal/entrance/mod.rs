//! The pages that lead into an account: set-up, sign-in and the pages behind links in e-mails.

pub mod again;
pub mod cancel_email;
pub mod checkpoints;
pub mod invitation;
pub mod provider;
pub mod reset_password;
pub mod setup;
pub mod sign_in;
pub mod verify_email;
