//! Where the values of options come from: a flag, a variable or a file.

use crate::config::credential;

/// An option with an unusable value: its variable, the problem and the remedy.
#[derive(Debug, thiserror::Error)]
#[error("{variable} {problem}")]
pub struct ConfigError {
    variable: String,
    problem: String,
}

impl ConfigError {
    pub fn new(variable: &str, problem: impl Into<String>) -> ConfigError {
        ConfigError { variable: variable.to_owned(), problem: problem.into() }
    }
}

/// The places besides its variable that may hold the value of an option.
#[derive(Clone, Copy)]
pub(super) struct Places {
    /// A flag of `keydesk serve`, which wins over the variable.
    pub(super) flag: bool,
    /// A file whose path is in `VARIABLE_FILE`.
    pub(super) file: bool,
}

/// Looks up flags and environment variables.
pub struct Source<'a> {
    /// Returns the value of a flag, given the variable of its option.
    pub flag: &'a dyn Fn(&str) -> Option<String>,
    pub env: &'a dyn Fn(&str) -> Option<String>,
}

impl Source<'_> {
    /// Whether the flag or the variable is set.
    pub(super) fn is_set(&self, variable: &str) -> bool {
        (self.flag)(variable).is_some() || (self.env)(variable).is_some()
    }

    /// The trimmed value of an option, or `None` if it is not set.
    ///
    /// Errors: the value is empty, the flag contains a credential, the file is unreadable, or both the
    /// variable and the file are set.
    pub(super) fn get(&self, variable: &str, places: Places) -> Result<Option<String>, ConfigError> {
        let flag = if places.flag { (self.flag)(variable) } else { None };
        if flag.as_deref().is_some_and(credential::is_in) {
            let file = if places.file { format!(" or {variable}_FILE") } else { String::new() };
            return Err(ConfigError::new(
                variable,
                format!(
                    "contains a credential, and every user of this machine can read flags. \
                     Set the variable {variable}{file} instead of the flag."
                ),
            ));
        }
        let value = match (flag, places.file) {
            (Some(flag), _) => Some(flag),
            (None, true) => self.variable_or_file(variable)?,
            (None, false) => (self.env)(variable),
        };
        match value {
            Some(value) if value.trim().is_empty() => {
                Err(ConfigError::new(variable, "is empty. Set a value or unset the variable."))
            }
            value => Ok(value.map(|value| value.trim().to_owned())),
        }
    }

    fn variable_or_file(&self, variable: &str) -> Result<Option<String>, ConfigError> {
        let file_variable = format!("{variable}_FILE");
        match ((self.env)(variable), (self.env)(&file_variable)) {
            (Some(_), Some(_)) => {
                Err(ConfigError::new(variable, format!("and {file_variable} are both set. Set only one.")))
            }
            (None, Some(path)) => {
                let text = std::fs::read_to_string(&path).map_err(|error| {
                    ConfigError::new(&file_variable, format!("names a file that can't be read: {error}."))
                })?;
                if text.trim().is_empty() {
                    return Err(ConfigError::new(&file_variable, "names an empty file."));
                }
                Ok(Some(text))
            }
            (value, None) => Ok(value),
        }
    }
}
