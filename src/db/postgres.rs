//! Defaults for connections to PostgreSQL, so that a connection, a server or another process that dies silently
//! costs only seconds. The operator's own settings take precedence.

use std::borrow::Cow;

/// Parameters of libpq (PostgreSQL documentation, 34.1.2).
///
/// They detect a dead server within five seconds: by `tcp_user_timeout` while bytes are not acknowledged, and by
/// keepalives, the first after three seconds, while an answer is outstanding.
const PARAMETERS: &[(&str, &str)] = &[
    ("connect_timeout", "3"),
    ("keepalives", "1"),
    ("keepalives_idle", "3"),
    ("keepalives_interval", "1"),
    ("keepalives_count", "2"),
    ("tcp_user_timeout", "5000"),
    ("application_name", "keydesk"),
];

/// With several hosts, connect to the one that accepts writes.
const OF_SEVERAL_HOSTS: (&str, &str) = ("target_session_attrs", "read-write");

/// Timeouts of a session, unless the URL, the role or the database sets others. A process that stops in the middle
/// of a transaction delays others by three seconds; the lock timeout allows for several such processes.
pub(super) const SESSION: &str = "SELECT set_config(name, ours, false)
    FROM (VALUES ('statement_timeout', '30s'), ('lock_timeout', '10s'),
        ('idle_in_transaction_session_timeout', '3s')) AS limits (name, ours)
    JOIN pg_settings USING (name)
    WHERE source NOT IN ('client', 'user', 'database', 'database user')";

/// The shortest timeout of a session that ends a statement, in milliseconds.
pub(super) const SHORTEST_TIMEOUT: &str = "(SELECT MIN(setting::bigint) FROM pg_settings
    WHERE name IN ('statement_timeout', 'lock_timeout') AND setting::bigint > 0)";

/// The URL with the parameters that it lacks.
pub(super) fn with_defaults(url: &str) -> Cow<'_, str> {
    let (address, query) = url.split_once('?').unwrap_or((url, ""));
    let given = |name: &str| query.split('&').any(|pair| pair.split('=').next() == Some(name));
    let hosts = address.split_once("://").map_or(address, |(_, rest)| rest);
    let hosts = hosts.split('/').next().unwrap_or_default();
    let several = hosts.rsplit('@').next().unwrap_or_default().contains(',');
    let missing: Vec<String> = PARAMETERS
        .iter()
        .chain(several.then_some(&OF_SEVERAL_HOSTS))
        .filter(|(name, _)| !given(name))
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    if missing.is_empty() {
        return url.into();
    }
    let joint = if url.contains('?') { "&" } else { "?" };
    format!("{url}{joint}{}", missing.join("&")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_parameters_are_kept() {
        let url = "postgres://keydesk@db/keydesk?connect_timeout=9&keepalives_idle=60";
        let all = with_defaults(url);
        assert!(all.starts_with(url));
        assert_eq!(all.matches("connect_timeout").count(), 1, "{all}");
        assert_eq!(all.matches("keepalives_idle").count(), 1, "{all}");
        assert!(all.ends_with("&application_name=keydesk") && !all.contains("target_session_attrs"), "{all}");
    }

    #[test]
    fn several_hosts_select_the_writable_one() {
        let all = with_defaults("postgres://keydesk:a,b@db1:5432,db2:5432/keydesk");
        assert!(all.contains("/keydesk?connect_timeout=3&") && all.ends_with("=read-write"), "{all}");
        assert!(!with_defaults("postgres://keydesk:a,b@db/keydesk").contains("target_session_attrs"));
    }
}
