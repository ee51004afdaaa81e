//! The test e-mail.

use serde::{Deserialize, Serialize};

use crate::mail::message::MailContent;

/// A test e-mail that an admin sends to themselves.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Test {
    /// The admin's name.
    pub asked_by: String,
}

impl MailContent for Test {}
