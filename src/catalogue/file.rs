//! Reads and checks the file of the catalogue.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::catalogue::money::{Currency, Price, TokenPrice};
use crate::catalogue::reader::{At, Problem, Reader, Result};
use crate::catalogue::{Catalogue, Kind, MAX_MODEL_NAME, Model, ModelServer};
use crate::text::is_forbidden;
use crate::time::{DAY, parse_span};

/// Bytes of the file.
const MAX_FILE: u64 = 1024 * 1024;
/// Bytes of a credential.
const MAX_KEY: u64 = 16 * 1024;
/// Characters of an upstream's name.
const MAX_SERVER_NAME: usize = 40;
/// The largest `max_output`.
const MAX_OUTPUT: u32 = 10_000_000;

/// Why a catalogue can't be used.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    #[error("{} can't be read: {cause}.", file.display())]
    Unreadable { file: PathBuf, cause: std::io::Error },
    #[error("{} is larger than 1 MiB. Name a smaller file.", file.display())]
    TooLarge { file: PathBuf },
    /// Line and column begin at 1; the column counts characters.
    #[error("{}, line {line}, column {column}: {message}", file.display())]
    Invalid { file: PathBuf, line: usize, column: usize, message: String },
}

/// Looks up environment variables.
pub(super) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Reads a catalogue, and the credentials that it names.
pub(super) fn load(
    file: &Path,
    environment: Environment<'_>,
) -> std::result::Result<Catalogue, CatalogueError> {
    let unreadable = |cause| CatalogueError::Unreadable { file: file.to_owned(), cause };
    let bytes = read_limited(file, MAX_FILE).map_err(unreadable)?;
    let bytes = bytes.ok_or_else(|| CatalogueError::TooLarge { file: file.to_owned() })?;
    let place = |offset: usize, message| {
        let before = String::from_utf8_lossy(&bytes[..offset.min(bytes.len())]);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        CatalogueError::Invalid { file: file.to_owned(), line, column, message }
    };
    let text = std::str::from_utf8(&bytes)
        .map_err(|error| place(error.valid_up_to(), "Save the file as UTF-8.".to_owned()))?;
    let folder = file.parent().unwrap_or(Path::new(""));
    parse(text, folder, environment).map_err(|problem| place(problem.offset, problem.message))
}

/// The bytes of a file, or `None` if it has more than `most`.
fn read_limited(file: &Path, most: u64) -> std::io::Result<Option<Zeroizing<Vec<u8>>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    File::open(file)?.take(most + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= most).then_some(bytes))
}

/// Parses a catalogue. Files of credentials are looked up from `folder`.
fn parse(text: &str, folder: &Path, environment: Environment<'_>) -> Result<Catalogue> {
    let mut file = Reader::parse(text)?;
    let currency = file.text("currency")?;
    let servers = file.tables("upstream", "[[upstream]]")?;
    let tables = file.tables("model", "[[model]]")?;
    file.finish()?;
    let currency = currency.map(|code| code.check(|code| read_currency(code))).transpose()?;
    let mut catalogue =
        Catalogue { currency, servers: Vec::new(), models: Vec::new(), places: HashMap::new() };
    for table in servers {
        let server = read_server(table, &catalogue.servers, folder, environment)?;
        catalogue.servers.push(server);
    }
    for table in tables {
        let model = read_model(table, &catalogue)?;
        catalogue.places.insert(model.name.clone(), catalogue.models.len());
        catalogue.models.push(model);
    }
    if catalogue.models.is_empty() {
        return Err(Problem::new(0, "Add a [[model]]. Without one, nothing could be called."));
    }
    Ok(catalogue)
}

fn read_currency(code: &str) -> std::result::Result<Currency, String> {
    Currency::parse(code)
        .ok_or_else(|| "Use the three capital letters of a currency, such as \"USD\".".to_owned())
}

fn read_server(
    mut table: Reader<'_>,
    before: &[ModelServer],
    folder: &Path,
    environment: Environment<'_>,
) -> Result<ModelServer> {
    let name = table.required_text("name")?;
    let kind = table.required_text("kind")?;
    let url = table.required_text("url")?;
    let variable = table.text("key_env")?;
    let key_file = table.text("key_file")?;
    let timeout = table.text("timeout")?;
    table.finish()?;
    name.check(|name| check_server_name(name))?;
    if before.iter().any(|other| other.name == name.value) {
        return Err(name.problem("Another upstream has this name. Choose a different one."));
    }
    let key = match (variable, key_file) {
        (Some(_), Some(file)) => return Err(file.problem("Use key_env or key_file, not both.")),
        (Some(variable), None) => Some(variable.check(|variable| key_of_variable(variable, environment))?),
        (None, Some(file)) => Some(file.check(|file| key_of_file(&folder.join(file)))?),
        (None, None) => None,
    };
    Ok(ModelServer {
        kind: kind.check(|kind| read_kind(kind))?,
        url: url.check(|url| check_url(url))?,
        key,
        timeout: timeout.map(|timeout| timeout.check(|text| read_timeout(text))).transpose()?,
        name: name.value,
    })
}

fn check_server_name(name: &str) -> std::result::Result<(), String> {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let fits = (1..=MAX_SERVER_NAME).contains(&name.len()) && name.bytes().all(is_allowed);
    if fits { Ok(()) } else { Err(format!("Use 1 to {MAX_SERVER_NAME} of the characters a-z, 0-9 and -.")) }
}

fn read_kind(kind: &str) -> std::result::Result<Kind, String> {
    match kind {
        "openai" => Ok(Kind::OpenAi),
        "anthropic" => Ok(Kind::Anthropic),
        _ => Err("Use \"openai\" or \"anthropic\".".to_owned()),
    }
}

/// Returns a base URL without a slash at its end.
fn check_url(text: &str) -> std::result::Result<String, String> {
    let wrong = || "Use a base URL such as \"https://host/v1\".".to_owned();
    let url = reqwest::Url::parse(text).map_err(|_| wrong())?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("Take the credential out of the URL, and name it with key_env or key_file.".to_owned());
    }
    let is_base =
        matches!(url.scheme(), "http" | "https") && url.query().is_none() && url.fragment().is_none();
    if is_base { Ok(url.as_str().trim_end_matches('/').to_owned()) } else { Err(wrong()) }
}

fn read_timeout(text: &str) -> std::result::Result<Duration, String> {
    let seconds = parse_span(text).filter(|seconds| (1..=DAY).contains(seconds));
    let seconds = seconds.and_then(|seconds| u64::try_from(seconds).ok());
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| "Use a duration from 1s to 24h, such as \"600s\".".to_owned())
}

/// The credential in an environment variable.
fn key_of_variable(
    variable: &str,
    environment: Environment<'_>,
) -> std::result::Result<SecretString, String> {
    let is_allowed = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    // Anything else may be the credential itself, so it is not quoted.
    if variable.is_empty() || variable.len() > 100 || !variable.bytes().all(is_allowed) {
        return Err(
            "Write the name of an environment variable, in capital letters, digits and _. The credential \
                    itself does not belong here."
                .to_owned(),
        );
    }
    let key = environment(variable).map(Zeroizing::new);
    let key = key
        .ok_or_else(|| format!("The variable {variable} is not set. Set it to the upstream's credential."))?;
    check_key(&key, &format!("The variable {variable}"))
}

/// The credential in a file.
fn key_of_file(file: &Path) -> std::result::Result<SecretString, String> {
    let name = file.display();
    let bytes = read_limited(file, MAX_KEY).map_err(|error| format!("{name} can't be read: {error}."))?;
    let text = bytes.as_ref().and_then(|bytes| std::str::from_utf8(bytes).ok());
    check_key(text.unwrap_or_default(), &format!("{name}"))
}

/// Checks that a credential can be sent in a header.
fn check_key(text: &str, place: &str) -> std::result::Result<SecretString, String> {
    let key = text.trim();
    let fits = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic());
    if fits {
        Ok(key.into())
    } else {
        Err(format!("{place} does not contain a credential in one line of ASCII."))
    }
}

fn read_model(mut table: Reader<'_>, catalogue: &Catalogue) -> Result<Model> {
    let name = table.required_text("name")?;
    let upstreams = table.texts("upstreams")?;
    let upstream_model = table.text("upstream_model")?;
    let max_output = table.count("max_output", MAX_OUTPUT)?;
    let price = table.table("price")?;
    table.finish()?;
    name.check(|name| check_model_name(name))?;
    if catalogue.places.contains_key(&name.value) {
        return Err(name.problem("Another model has this name. Choose a different one."));
    }
    let upstream_model = match upstream_model {
        Some(sent) => {
            sent.check(|sent| check_name(sent))?;
            sent.value
        }
        None => name.value.clone(),
    };
    let price = price.map(|price| read_price(price, catalogue.currency)).transpose()?;
    let upstreams = check_upstreams(upstreams, &catalogue.servers)?;
    Ok(Model { name: name.value, upstreams, upstream_model, max_output, price })
}

fn check_upstreams(names: At<Vec<At<String>>>, servers: &[ModelServer]) -> Result<Vec<String>> {
    if names.value.is_empty() {
        return Err(names.problem("Name at least one upstream."));
    }
    let mut seen = HashSet::new();
    for name in &names.value {
        if !servers.iter().any(|server| server.name == name.value) {
            return Err(name.problem("There is no [[upstream]] of this name. Add it, or correct the name."));
        }
        if !seen.insert(&name.value) {
            return Err(name.problem("This upstream is named twice. Name each once."));
        }
    }
    Ok(names.value.into_iter().map(|name| name.value).collect())
}

/// Checks a name that clients request. Lists of names are separated by white space or commas, and `*` ends a
/// prefix.
fn check_model_name(name: &str) -> std::result::Result<(), String> {
    check_name(name)?;
    let is_wrong = |letter: char| letter.is_whitespace() || matches!(letter, ',' | '*');
    if name.contains(is_wrong) { Err("Use a name without spaces, commas and *.".to_owned()) } else { Ok(()) }
}

fn check_name(name: &str) -> std::result::Result<(), String> {
    let fits = (1..=MAX_MODEL_NAME).contains(&name.len()) && !name.contains(is_forbidden);
    if fits {
        Ok(())
    } else {
        Err(format!("Use a name of 1 to {MAX_MODEL_NAME} bytes without control and invisible characters."))
    }
}

fn read_price(mut table: Reader<'_>, currency: Option<Currency>) -> Result<Price> {
    if currency.is_none() {
        return Err(table.problem("Add the currency of prices at the top of the file: currency = \"USD\"."));
    }
    let price = |text: At<String>| text.check(|text| TokenPrice::parse_per_million(text));
    let input = price(table.required_text("input")?)?;
    let cached_input = table.text("cached_input")?.map_or(Ok(input), price)?;
    let cache_write = table.text("cache_write")?.map_or(Ok(input), price)?;
    let output = price(table.required_text("output")?)?;
    table.finish()?;
    Ok(Price { input, cached_input, cache_write, output })
}

#[cfg(test)]
mod tests;
