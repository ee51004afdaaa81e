//! The database URL.

use crate::db::Location;

/// Parses a URL of SQLite or PostgreSQL. The error completes a sentence that begins with the variable,
/// and never quotes the URL, which may contain a password.
pub(super) fn parse(url: String) -> Result<Location, &'static str> {
    if let Some(path) = url.strip_prefix("sqlite:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.is_empty() {
            return Err("names no file. Use sqlite:PATH.");
        }
        return Ok(Location::Sqlite(path.into()));
    }
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err("has an unknown scheme. Use sqlite:PATH or postgres://user:pass@host/database.");
    }
    let needs_tls =
        ["require", "verify-ca", "verify-full"].iter().any(|mode| url.contains(&format!("sslmode={mode}")));
    if needs_tls && !cfg!(feature = "postgres-tls") {
        return Err("requires TLS, which this build does not include. Build with \
                    `cargo build --release --features postgres-tls`.");
    }
    check_postgres_url(&url)?;
    Ok(Location::Postgres(url))
}

/// Refuses URLs that libpq would misread: its messages quote the URL, and with it the password.
fn check_postgres_url(url: &str) -> Result<(), &'static str> {
    let (_, rest) = url.split_once("://").unwrap_or_default();
    let before_query = rest.split('?').next().unwrap_or_default();
    let authority = before_query.split('/').next().unwrap_or_default();
    let is_escaped = |at: usize| {
        url.as_bytes().get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if rest.matches('@').count() > 1 || rest.contains('#') || (rest.contains('@') && !authority.contains('@'))
    {
        return Err("can't be parsed. In the password, write @ as %40, / as %2F, ? as %3F and # as %23.");
    }
    if url.match_indices('%').any(|(at, _)| !is_escaped(at)) {
        return Err("can't be parsed: a % is not followed by two hexadecimal digits. Write % itself as %25.");
    }
    let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    if hosts.matches('[').count() != hosts.matches(']').count() || user.contains(['[', ']']) {
        return Err(
            "can't be parsed. Use brackets only around an IPv6 address; in the password, write them \
                    as %5B and %5D.",
        );
    }
    Ok(())
}
