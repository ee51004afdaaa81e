//! Every mail there is, by its event, with what it is about and how it reads.

use askama::Template;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::id::KeyId;
use crate::mail::Test;
use crate::mail::sheet::Sheet;

/// What a mail is about.
pub trait Letter {
    /// The one key that it is about.
    fn key(&self) -> Option<KeyId> {
        None
    }
}

/// A mail as its reader gets it.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// One line.
    pub subject: String,
    /// For readers without HTML, and first.
    pub text: String,
    /// The same in HTML.
    pub html: String,
}

/// Makes [`Message`] out of one line for each mail: its letter, its event, its templates.
macro_rules! mails {
    ($($letter:ident $event:tt $subject:tt $text:tt $html:tt;)*) => {
        /// A mail in the queue.
        #[derive(Clone, Debug, Serialize, Deserialize)]
        #[serde(tag = "event", content = "letter")]
        #[allow(missing_docs, reason = "each letter has its own")]
        pub enum Message {
            $(#[serde(rename = $event)] $letter($letter),)*
        }

        $(impl From<$letter> for Message {
            fn from(letter: $letter) -> Message {
                Message::$letter(letter)
            }
        })*

        impl Message {
            /// The name told in `X-Keydesk-Event`.
            pub fn event(&self) -> &'static str {
                match self {
                    $(Message::$letter(_) => $event,)*
                }
            }

            fn letter(&self) -> &dyn Letter {
                match self {
                    $(Message::$letter(letter) => letter,)*
                }
            }

            /// Writes it for its reader.
            pub fn render(&self, sheet: &Sheet) -> Result<Rendered> {
                match self {
                    $(Message::$letter(letter) => {
                        #[derive(Template)]
                        #[template(path = $subject)]
                        #[allow(dead_code, reason = "a template need not ask for everything")]
                        struct Subject<'a> { letter: &'a $letter, sheet: &'a Sheet }

                        #[derive(Template)]
                        #[template(path = $text)]
                        #[allow(dead_code, reason = "a template need not ask for everything")]
                        struct Text<'a> { letter: &'a $letter, sheet: &'a Sheet }

                        #[derive(Template)]
                        #[template(path = $html)]
                        #[allow(dead_code, reason = "a template need not ask for everything")]
                        struct Html<'a> { letter: &'a $letter, sheet: &'a Sheet, subject: &'a str }

                        let subject = sheet.subject(&Subject { letter, sheet }.render().map_err(Error::internal)?);
                        let text = Text { letter, sheet }.render().map_err(Error::internal)?;
                        let html = Html { letter, sheet, subject: &subject }.render().map_err(Error::internal)?;
                        Ok(Rendered { subject, text, html })
                    })*
                }
            }
        }
    };
}

mails! {
    Test "test" "mail/test/subject.txt" "mail/test/body.txt" "mail/test/body.html";
}

impl Message {
    /// The one key that it is about.
    pub fn key(&self) -> Option<KeyId> {
        self.letter().key()
    }
}
