//! A mail that shows that mail arrives.

use serde::{Deserialize, Serialize};

use crate::mail::message::Letter;

/// A mail that an admin sends themselves.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Test {
    /// The name of whoever asked for it.
    pub asked_by: String,
}

impl Letter for Test {}
