//! Every user of the machine can read flags, so no flag takes a credential.

use crate::support::Desk;

#[test]
fn credential_in_a_flag_is_refused_and_not_repeated() {
    let desk = Desk::new();
    for (flag, value, hint) in [
        ("--database-url", "postgres://keydesk:hunter2@127.0.0.1:1/keydesk", "KEYDESK_DATABASE_URL_FILE"),
        (
            "--database-url",
            "postgresql://127.0.0.1:1/keydesk?user=keydesk&password=hunter2",
            "KEYDESK_DATABASE_URL_FILE",
        ),
        ("--database-url", "postgres://127.0.0.1:1/keydesk?pass%77ord=hunter2", "KEYDESK_DATABASE_URL_FILE"),
        ("--database-url", "host=127.0.0.1 port=1 password=hunter2", "KEYDESK_DATABASE_URL_FILE"),
        ("--upstream-url", "https://user:hunter2@models.example/v1", "KEYDESK_UPSTREAM_URL"),
        ("--upstream-url", "https://hunter2@models.example/v1", "KEYDESK_UPSTREAM_URL"),
        ("--public-url", "https://user:hunter2@keys.example.com", "KEYDESK_PUBLIC_URL"),
        ("--oidc-issuer", "https://user:hunter2@sso.example.com", "KEYDESK_OIDC_ISSUER"),
        ("--github-url", "https://user:hunter2@github.example.com", "KEYDESK_GITHUB_URL"),
    ] {
        for arguments in [
            vec!["serve".to_owned(), flag.to_owned(), value.to_owned()],
            vec!["serve".to_owned(), format!("{flag}={value}")],
        ] {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let output = desk.run(&arguments);
            let errors = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{arguments:?}: {errors}");
            assert!(errors.contains(hint) && errors.contains("flag"), "{errors}");
            assert!(!errors.contains("hunter2"), "{errors}");
        }
    }
}

#[test]
fn database_password_is_read_from_variable_and_file() {
    // Nothing listens there, so each gets as far as connecting.
    let url = "postgres://keydesk:hunter2@127.0.0.1:1/keydesk";
    let desk = Desk::new();
    let file = desk.data.path().join("database-url");
    std::fs::write(&file, url).unwrap();
    let mut by_variable = desk.command(&["serve"]);
    by_variable.env("KEYDESK_DATABASE_URL", url);
    let mut by_file = desk.command(&["serve"]);
    by_file.env_remove("KEYDESK_DATABASE_URL").env("KEYDESK_DATABASE_URL_FILE", &file);
    let mut by_flag = desk.command(&["serve", "--database-url", "postgres://keydesk@127.0.0.1:1/keydesk"]);
    by_flag.env_remove("KEYDESK_DATABASE_URL");
    for mut command in [by_variable, by_file, by_flag] {
        let output = command.output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.contains("can't be opened") && !errors.contains("unknown variable"), "{errors}");
        assert!(!errors.contains("hunter2") && !errors.contains("flag"), "{errors}");
    }
}
