//! One configuration option: how it is described and how its value is read.

use crate::config::format::Format;
use crate::config::source::{ConfigError, Places, Source};

/// Parses the text of the value, or the default if there is none. Returns `None` if the text is invalid.
type ParseOrDefault<T> = Box<dyn Fn(Option<&str>) -> Option<T>>;

/// An option whose value has the type `T`.
///
/// Built by [`option`] or [`optional`], refined by [`Opt::secret`] or [`Opt::or_file`].
pub(super) struct Opt<T> {
    variable: &'static str,
    places: Places,
    default: String,
    expected: String,
    is_url: bool,
    parse: ParseOrDefault<T>,
}

/// An option with a default. The default is parsed like a value; the empty text is shown as "none".
pub(super) fn option<T: 'static>(variable: &'static str, default: &'static str, format: Format<T>) -> Opt<T> {
    Opt {
        variable,
        places: Places { flag: true, file: false },
        default: if default.is_empty() { "none".to_owned() } else { format!("`{default}`") },
        expected: format.expected,
        is_url: format.is_url,
        parse: Box::new(move |text| (format.parse)(text.unwrap_or(default))),
    }
}

/// An option that may be left out. `unset` says what happens then.
pub(super) fn optional<T: 'static>(variable: &'static str, unset: &str, format: Format<T>) -> Opt<Option<T>> {
    Opt {
        variable,
        places: Places { flag: true, file: false },
        default: unset.to_owned(),
        expected: format.expected,
        is_url: format.is_url,
        parse: Box::new(move |text| match text {
            None => Some(None),
            Some(text) => (format.parse)(text).map(Some),
        }),
    }
}

impl<T> Opt<T> {
    /// Makes it a secret: never a flag, and also read from the file that `VARIABLE_FILE` names.
    pub(super) fn secret(self) -> Opt<T> {
        Opt { places: Places { flag: false, file: true }, ..self }
    }

    /// Also reads the file that `VARIABLE_FILE` names.
    pub(super) fn or_file(self) -> Opt<T> {
        Opt { places: Places { file: true, ..self.places }, ..self }
    }

    /// Makes it an option of up to [`MAX_NUMBER`] things of one kind. Further ones have a number in their variable:
    /// `KEYDESK_OIDC_ISSUER`, `KEYDESK_OIDC_2_ISSUER`.
    pub(super) fn numbered(self) -> Numbered<T> {
        Numbered(self)
    }

    /// Reads and parses the value.
    pub(super) fn read(&self, source: &Source<'_>) -> Result<T, ConfigError> {
        self.read_variable(self.variable, source)
    }

    fn read_variable(&self, variable: &str, source: &Source<'_>) -> Result<T, ConfigError> {
        let text = source.get(variable, self.places)?;
        (self.parse)(text.as_deref()).ok_or_else(|| {
            // A secret or a URL could contain a credential, so the message does not quote it.
            let problem = match text {
                Some(text) if !self.places.file && !self.is_url => format!("is {text:?}"),
                _ => "is not valid".to_owned(),
            };
            let expected = self.expected.replace('`', "");
            ConfigError::new(variable, format!("{problem}. Use {expected}."))
        })
    }

    pub(super) fn definition(&self, group: &'static str, help: &'static str) -> Definition {
        Definition {
            group,
            help: help.trim(),
            variable: self.variable,
            default: self.default.clone(),
            expected: self.expected.clone(),
            is_numbered: false,
            places: self.places,
        }
    }
}

/// The number of things of one kind that numbered options can describe.
pub(super) const MAX_NUMBER: u8 = 9;

/// An option that describes several things of one kind.
pub(super) struct Numbered<T>(Opt<T>);

impl<T> Numbered<T> {
    /// Reads and parses the values, from the first to the last number.
    pub(super) fn read(&self, source: &Source<'_>) -> Result<Vec<T>, ConfigError> {
        (1..=MAX_NUMBER)
            .map(|number| self.0.read_variable(&numbered_variable(self.0.variable, number), source))
            .collect()
    }

    pub(super) fn definition(&self, group: &'static str, help: &'static str) -> Definition {
        Definition { is_numbered: true, ..self.0.definition(group, help) }
    }
}

/// The variable of a numbered option: the number follows the name of the kind, and 1 is left out.
pub(super) fn numbered_variable(variable: &str, number: u8) -> String {
    match variable.splitn(3, '_').collect::<Vec<_>>()[..] {
        [keydesk, kind, rest] if number > 1 => format!("{keydesk}_{kind}_{number}_{rest}"),
        _ => variable.to_owned(),
    }
}

/// An option as help and documentation describe it. The texts contain Markdown code spans.
pub struct Definition {
    /// The heading under which the option is listed.
    pub group: &'static str,
    pub help: &'static str,
    /// The environment variable.
    pub variable: &'static str,
    /// The default value, or what happens without a value.
    pub default: String,
    /// The accepted values, as the object of "Use"; empty for any text.
    pub expected: String,
    is_numbered: bool,
    places: Places,
}

impl Definition {
    /// The variables that set the option: one, or one for each number.
    pub fn variables(&self) -> Vec<String> {
        let numbers = 1..=if self.is_numbered { MAX_NUMBER } else { 1 };
        numbers.map(|number| numbered_variable(self.variable, number)).collect()
    }

    /// The flag of `keydesk serve` for this variable, such as `--data-dir`; `None` for a secret.
    pub fn flag_of(&self, variable: &str) -> Option<String> {
        let name = variable.trim_start_matches("KEYDESK_").to_lowercase().replace('_', "-");
        self.places.flag.then(|| format!("--{name}"))
    }

    /// The flag of `keydesk serve`, of the first number; `None` for a secret.
    pub fn flag(&self) -> Option<String> {
        self.flag_of(self.variable)
    }

    /// Whether a variable sets the option or names a file with its value.
    pub fn has_variable(&self, name: &str) -> bool {
        let variable = if self.places.file { name.strip_suffix("_FILE").unwrap_or(name) } else { name };
        self.variables().iter().any(|own| own == variable)
    }

    /// The variable that names a file with the value, if the option has one.
    pub fn file_variable(&self) -> Option<String> {
        self.places.file.then(|| format!("{}_FILE", self.variable))
    }
}
