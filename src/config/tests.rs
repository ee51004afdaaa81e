//! How the configuration is read and checked.

use std::time::Duration;

use super::*;

/// Pairs of a variable and a value.
type Pairs<'a> = &'a [(&'a str, &'a str)];

fn load(env: Pairs<'_>) -> Result<Config, String> {
    load_with_flags(&[], env)
}

/// Flags are named by the variables of their options.
fn load_with_flags(flags: Pairs<'_>, env: Pairs<'_>) -> Result<Config, String> {
    let find = |pairs: Pairs<'_>, name: &str| {
        pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    };
    let source = Source { flag: &|name| find(flags, name), env: &|name| find(env, name) };
    Config::load(&source).map_err(|error| error.to_string())
}

fn refusal(env: Pairs<'_>) -> String {
    load(env).map(drop).expect_err("the configuration is refused")
}

#[test]
fn defaults_apply_without_flag_and_variable() {
    let config = load(&[]).expect("all defaults are valid");
    assert_eq!(config.options.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.options.tick, Duration::from_secs(30));
    assert_eq!(config.options.notices, [30, 14, 7, 3, 1].map(|days| days * 24 * 60 * 60));
    assert_eq!(config.options.github_url, "https://github.com");
    assert!(config.options.trusted_proxies.is_empty() && config.options.upstream_url.is_none());
    assert!(
        matches!(config.database, Location::Sqlite(path) if path.ends_with("keydesk-data/keydesk.sqlite3"))
    );
}

#[test]
fn flag_wins_over_variable_and_variable_over_default() {
    let env = [("KEYDESK_TICK", "10s")];
    assert_eq!(load(&env).unwrap().options.tick, Duration::from_secs(10));
    let both = load_with_flags(&[("KEYDESK_TICK", "20s")], &env);
    assert_eq!(both.unwrap().options.tick, Duration::from_secs(20));
}

#[test]
fn secret_is_never_a_flag() {
    let secrets: Vec<_> =
        Options::definitions().into_iter().filter(|option| option.flag().is_none()).collect();
    let names: Vec<_> = secrets.iter().map(|option| option.variable).collect();
    assert_eq!(
        names,
        [
            "KEYDESK_SECRET",
            "KEYDESK_SECRET_PREVIOUS",
            "KEYDESK_SMTP_URL",
            "KEYDESK_UPSTREAM_KEY",
            "KEYDESK_VALKEY_URL",
            "KEYDESK_GITHUB_CLIENT_SECRET",
            "KEYDESK_OIDC_CLIENT_SECRET",
        ]
    );
    for option in &secrets {
        assert_eq!(option.file_variable(), Some(format!("{}_FILE", option.variable)));
    }
    // Even if the command line had such a flag, its value would not be used.
    let config = load_with_flags(&[("KEYDESK_UPSTREAM_KEY", "from-flag")], &[]).unwrap();
    assert!(config.options.upstream_key.is_none());
}

#[test]
fn secret_is_read_from_the_file_that_its_variable_names() {
    let directory = tempfile::tempdir().unwrap();
    let (full, empty) = (directory.path().join("full"), directory.path().join("empty"));
    std::fs::write(&full, "from-file\n").unwrap();
    std::fs::write(&empty, "\n").unwrap();
    let path = full.to_str().unwrap();
    let config = load(&[("KEYDESK_UPSTREAM_KEY_FILE", path)]).unwrap();
    let key = config.options.upstream_key.unwrap();
    assert_eq!(secrecy::ExposeSecret::expose_secret(&key), "from-file");
    let both = refusal(&[("KEYDESK_UPSTREAM_KEY", "key"), ("KEYDESK_UPSTREAM_KEY_FILE", path)]);
    assert_eq!(both, "KEYDESK_UPSTREAM_KEY and KEYDESK_UPSTREAM_KEY_FILE are both set. Set only one.");
    for path in [empty.to_str().unwrap(), "/nonexistent/file"] {
        let message = refusal(&[("KEYDESK_UPSTREAM_KEY_FILE", path)]);
        assert!(message.starts_with("KEYDESK_UPSTREAM_KEY_FILE names a"), "{message}");
    }
    // An option that is not a secret has no file.
    assert_eq!(load(&[("KEYDESK_TICK_FILE", path)]).unwrap().options.tick, Duration::from_secs(30));
}

#[test]
fn empty_value_is_refused_for_every_option() {
    for option in Options::definitions() {
        for value in ["", "  "] {
            let message = refusal(&[(option.variable, value)]);
            assert_eq!(message, format!("{} is empty. Set a value or unset the variable.", option.variable));
        }
    }
}

#[test]
fn value_out_of_bounds_is_refused_with_the_bounds() {
    for (variable, values, rule) in [
        ("KEYDESK_TICK", ["0s", "25h"], "Use a duration from 1s to 24h, such as 30s."),
        ("KEYDESK_MAX_STALENESS", ["0s", "301s"], "Use a duration from 1s to 5m, such as 30s."),
        ("KEYDESK_KEEP_ALIVE", ["0s", "61m"], "Use a duration from 1s to 1h, such as 30s."),
        ("KEYDESK_DRAIN", ["-1s", "25h"], "Use a duration from 0s to 24h, such as 30s."),
        ("KEYDESK_DATABASE_CONNECTIONS", ["1", "201"], "Use a number from 2 to 200."),
        ("KEYDESK_DEFAULT_RPM", ["0", "1000001"], "Use a number from 1 to 1000000."),
    ] {
        for value in values {
            assert_eq!(refusal(&[(variable, value)]), format!("{variable} is {value:?}. {rule}"));
        }
    }
    for (variable, value) in [
        ("KEYDESK_TICK", "24h"),
        ("KEYDESK_MAX_STALENESS", "5m"),
        ("KEYDESK_KEEP_ALIVE", "1h"),
        ("KEYDESK_DRAIN", "0s"),
        ("KEYDESK_DATABASE_CONNECTIONS", "200"),
        ("KEYDESK_DEFAULT_RPM", "1000000"),
    ] {
        assert!(load(&[(variable, value)]).is_ok(), "{variable}={value}");
    }
}

#[test]
fn refusal_never_quotes_a_secret_or_a_url() {
    for variable in [
        "KEYDESK_SECRET",
        "KEYDESK_SMTP_URL",
        "KEYDESK_VALKEY_URL",
        "KEYDESK_DATABASE_URL",
        "KEYDESK_PUBLIC_URL",
        "KEYDESK_UPSTREAM_URL",
        "KEYDESK_GITHUB_URL",
        "KEYDESK_OIDC_ISSUER",
    ] {
        let message = refusal(&[(variable, "ada:hunter2@[host")]);
        assert!(message.starts_with(variable) && !message.contains("hunter2"), "{message}");
    }
}

#[test]
fn password_that_libpq_would_misread_is_refused_and_not_quoted() {
    for url in [
        "postgres://u:hunter%zz2@127.0.0.1/x",
        "postgres://u:hunter2%@127.0.0.1/x",
        "postgres://u:hun@ter2@127.0.0.1/x",
        "postgres://u:hun/ter2@127.0.0.1/x",
        "postgres://u:hun?ter2@127.0.0.1/x",
        "postgres://u:hun#ter2@127.0.0.1/x",
        "postgres://u:hunter2@[::1/x",
        "postgres://u:[hunter2]@host/x",
    ] {
        let message = refusal(&[("KEYDESK_DATABASE_URL", url)]);
        assert!(message.contains("KEYDESK_DATABASE_URL") && !message.contains("ter2"), "{message}");
    }
    for url in [
        "postgres://u:hunter%402@127.0.0.1:5432/x?sslmode=disable",
        "postgresql://u@h1,h2:5433,[::1]/x?target_session_attrs=read-write",
        "postgres:///x?host=/run/postgresql",
        "postgres://host",
    ] {
        assert!(load(&[("KEYDESK_DATABASE_URL", url)]).is_ok(), "{url}");
    }
}

#[test]
fn mail_server_requires_a_sender_and_its_url_is_never_quoted() {
    let url = "smtp://ada:hunter2@mail.example.com:587";
    let refused = load(&[("KEYDESK_SMTP_URL", url)]).map(|_| ()).unwrap_err();
    assert!(refused.starts_with("KEYDESK_MAIL_FROM"), "{refused}");
    let from = ("KEYDESK_MAIL_FROM", "keydesk@example.com");
    let config = load(&[("KEYDESK_SMTP_URL", url), from]).map(|config| config.options.mail_server);
    assert_eq!(config.ok().flatten().map(|server| server.host), Some("mail.example.com".to_owned()));
    let wrong = load(&[("KEYDESK_SMTP_URL", "smtpx://ada:hunter2@mail.example.com"), from]);
    assert!(wrong.is_err_and(|error| !error.contains("hunter2")));
}

#[test]
fn refusal_of_an_invalid_value_names_the_variable() {
    let cases = [
        ("KEYDESK_LISTEN", "here"),
        ("KEYDESK_LISTEN", ""),
        ("KEYDESK_PUBLIC_URL", "https://keys.example.com/path"),
        ("KEYDESK_PUBLIC_URL", "http://keys.example.com"),
        ("KEYDESK_PUBLIC_URL", "ftp://localhost"),
        ("KEYDESK_DATABASE_URL", "mysql://localhost/x"),
        ("KEYDESK_DATABASE_URL", "sqlite:"),
        ("KEYDESK_SECRET", "short"),
        ("KEYDESK_SECRET", ""),
        ("KEYDESK_KEY_PREFIX", "KD"),
        ("KEYDESK_KEY_PREFIX", "k"),
        ("KEYDESK_NOTICES", "soon"),
        ("KEYDESK_TICK", "0s"),
        ("KEYDESK_DEFAULT_RPM", "0"),
        ("KEYDESK_DEFAULT_RPM", "1000001"),
        ("KEYDESK_TRUSTED_PROXIES", "10.0.0.0/33"),
        ("KEYDESK_UPSTREAM_URL", "localhost:1"),
        ("KEYDESK_SMTP_URL", "mail.example.com"),
        ("KEYDESK_SMTP_URL", "https://mail.example.com"),
        ("KEYDESK_SMTP_URL", "smtp://mail.example.com?tls=perhaps"),
        ("KEYDESK_MAIL_FROM", "nobody"),
        ("KEYDESK_GITHUB_URL", "https://github.example/path"),
        ("KEYDESK_GITHUB_URL", "http://github.example"),
        ("KEYDESK_OIDC_ISSUER", "http://sso.example.com"),
        ("KEYDESK_OIDC_ISSUER", "https://sso.example.com/?x"),
        ("KEYDESK_OIDC_ISSUER", ""),
    ];
    for (variable, value) in cases {
        let error = load(&[(variable, value)]).err().unwrap_or_default();
        assert!(error.starts_with(variable), "{variable}={value:?}: {error:?}");
    }
}

#[test]
fn provider_requires_all_its_options() {
    let github = [("KEYDESK_GITHUB_CLIENT_ID", "id"), ("KEYDESK_GITHUB_CLIENT_SECRET", "secret")];
    let oidc = [
        ("KEYDESK_OIDC_ISSUER", "https://sso.example.com"),
        ("KEYDESK_OIDC_CLIENT_ID", "id"),
        ("KEYDESK_OIDC_CLIENT_SECRET", "secret"),
    ];
    for all in [github.as_slice(), oidc.as_slice()] {
        assert!(load(all).is_ok());
        for left_out in all {
            let rest: Vec<_> = all.iter().filter(|option| *option != left_out).copied().collect();
            let error = load(&rest).err().unwrap_or_default();
            assert!(error.starts_with(left_out.0), "{error}");
        }
    }
    assert!(load(&[("KEYDESK_OIDC_NAME", "Acme SSO")]).is_err());
}

#[test]
fn public_url_is_required_outside_loopback() {
    let error = load(&[("KEYDESK_LISTEN", "0.0.0.0:80")]).err().unwrap_or_default();
    assert!(error.starts_with("KEYDESK_PUBLIC_URL"), "{error}");
    assert!(
        load(&[("KEYDESK_LISTEN", "0.0.0.0:80"), ("KEYDESK_PUBLIC_URL", "https://keys.example.com/")])
            .is_ok()
    );
}

#[test]
fn refusal_of_tls_to_postgres_names_the_missing_feature() {
    let result = load(&[("KEYDESK_DATABASE_URL", "postgres://db/keydesk?sslmode=verify-full")]);
    if cfg!(feature = "postgres-tls") {
        assert!(result.is_ok());
    } else {
        assert!(result.err().unwrap_or_default().contains("postgres-tls"));
    }
}
