//! The command line.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{Desk, PASSWORD, desk, is_key, text};

#[test]
fn setup_prints_only_the_slug_and_refuses_a_second_organisation() {
    let desk = Desk::new();
    let setup = |more: &[&str], email: &str| {
        let mut arguments =
            vec!["setup", "--org", "Acme AI", "--name", "Ada", "--email", email, "--password-stdin"];
        arguments.extend(more);
        desk.run_with_input(&arguments, &format!("{PASSWORD}\n"))
    };
    assert_eq!(String::from_utf8(setup(&[], "ada@example.com").stdout).unwrap(), "acme-ai\n");
    let refused = setup(&[], "bob@example.com");
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(1), 0));
    assert_eq!(desk.database.count("SELECT COUNT(*) AS count FROM people"), 1);
    assert_eq!(text(&setup(&["--another"], "bob@example.com")), "acme-ai-2");
    assert_eq!(setup(&["--another"], "not an address").status.code(), Some(1));
    let weak =
        ["setup", "--another", "--org", "X", "--name", "Y", "--email", "y@example.com", "--password-stdin"];
    assert_eq!(desk.run_with_input(&weak, "short").status.code(), Some(1));
}

#[test]
fn key_create_prints_only_the_secret() {
    let (desk, server, org) = desk();
    let output = desk.run(&[
        "key",
        "create",
        "--org",
        &org.slug,
        "--name",
        "batch",
        "--scope",
        "inference:read",
        "inference:write",
        "--expires",
        "90d",
    ]);
    let secret = text(&output);
    assert!(is_key(&secret));
    assert_eq!(String::from_utf8(output.stdout.clone()).unwrap(), format!("{secret}\n"));
    assert!(!String::from_utf8(output.stderr).unwrap().contains(&secret));
    let key = server.api(&secret).get("/v1/api-keys/self").json();
    assert_eq!(key["created_by"], "system:cli");
    assert_eq!(key["owner"]["email"], org.email);
    let again =
        desk.run(&["key", "create", "--org", &org.slug, "--name", "Batch", "--scope", "inference:read"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8(again.stderr).unwrap().contains("is taken by another key"));
    let unknown = desk.run(&["key", "create", "--org", "nobody", "--name", "x", "--scope", "admin"]);
    assert_eq!(unknown.status.code(), Some(1));
    let wrong = desk.run(&[
        "key",
        "create",
        "--org",
        &org.slug,
        "--name",
        "x",
        "--scope",
        "admin",
        "--expires",
        "soon",
    ]);
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
fn keys_are_listed_shown_disabled_enabled_and_revoked() {
    let (desk, server, org) = desk();
    let secret = desk.key(&org.slug, "batch", "inference:read");
    let api = server.api(&secret);
    let json = |arguments: &[&str]| -> Value { serde_json::from_str(&text(&desk.run(arguments))).unwrap() };
    let shown = json(&["key", "show", "--org", &org.slug, "batch", "--json"]);
    assert_eq!(shown, api.get("/v1/api-keys/self").json());
    let id = shown["id"].as_str().unwrap();
    assert_eq!(text(&desk.run(&["key", "list", "--org", &org.slug])).lines().count(), 2);
    assert_eq!(json(&["key", "disable", "--org", &org.slug, id, "--json"])["status"], "disabled");
    assert_eq!(api.get("/v1/models").code(), "key_disabled");
    assert_eq!(json(&["key", "list", "--org", &org.slug, "--status", "disabled", "--json"])["id"], id);
    assert_eq!(json(&["key", "enable", "--org", &org.slug, "batch", "--json"])["status"], "active");
    assert_eq!(api.get("/v1/models").status, 200);
    let revoked = json(&["key", "revoke", "--org", &org.slug, "batch", "--reason", "done", "--json"]);
    assert_eq!(revoked["revoked"]["by"], "system:cli");
    assert_eq!(api.get("/v1/models").code(), "key_revoked");
    assert_eq!(desk.run(&["key", "enable", "--org", &org.slug, id]).status.code(), Some(1));
    assert_eq!(desk.run(&["key", "show", "--org", &org.slug, "nothing"]).status.code(), Some(1));
}

#[test]
fn commands_work_without_a_running_server() {
    let desk = Desk::new();
    let setup = ["setup", "--org", "Acme", "--name", "Ada", "--email", "ada@example.com", "--password-stdin"];
    assert_eq!(text(&desk.run_with_input(&setup, PASSWORD)), "acme");
    assert!(is_key(&desk.key("acme", "first", "admin")));
    let people = text(&desk.run(&["user", "list", "--json"]));
    let person: Value = serde_json::from_str(&people).unwrap();
    assert_eq!((&person["email"], &person["roles"]["acme"]), (&"ada@example.com".into(), &"owner".into()));
    let nobody = desk.run_with_input(
        &["user", "reset-password", "--email", "x@example.com", "--password-stdin"],
        PASSWORD,
    );
    assert_eq!(nobody.status.code(), Some(1));
}

/// Runs a command whose output goes to a full disk, to a reader that has gone, or nowhere.
fn run_without_output(desk: &Desk, output: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = desk.command(arguments);
    match output {
        "full" => {
            command.stdout(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
        }
        "gone" => {
            command.stdout(std::io::pipe().unwrap().1);
        }
        _ => {
            let mut shell = Command::new("sh");
            shell.args(["-c", "exec \"$0\" \"$@\" >&-"]).arg(command.get_program()).args(arguments);
            shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
            shell.current_dir(desk.data.path());
            command = shell;
        }
    }
    let output = command.stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn key_whose_secret_cannot_be_printed_is_revoked_or_not_made() {
    let (desk, _server, org) = desk();
    let status = |name: &str| {
        let found = org.admin.get(&format!("/v1/api-keys?q={name}")).json();
        found["data"][0]["status"].as_str().map(str::to_owned)
    };
    for output in ["full", "gone", "closed"] {
        let name = format!("into-{output}");
        let create = ["key", "create", "--org", &org.slug, "--name", &name, "--scope", "inference:read"];
        let (code, said) = run_without_output(&desk, output, &create);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("the secret can't be printed"), "{said}");
        // A closed output is known before there is a key.
        let expected = (output != "closed").then_some("revoked");
        assert_eq!(status(&name).as_deref(), expected, "{said}");
    }
    // The name is free again.
    assert!(is_key(&desk.key(&org.slug, "into-full", "inference:read")));
}

#[test]
fn key_whose_new_secret_cannot_be_printed_keeps_its_old_one() {
    let (desk, server, org) = desk();
    let old = server.api(&desk.key(&org.slug, "batch", "inference:read"));
    for output in ["full", "gone", "closed"] {
        let rotate = ["key", "rotate", "--org", &org.slug, "batch", "--overlap", "0s"];
        let (code, said) = run_without_output(&desk, output, &rotate);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("secret can't be printed"), "{said}");
        let key = old.get("/v1/api-keys/self");
        assert_eq!((key.status, &key.json()["rotation"]), (200, &Value::Null), "{said}");
    }
    assert_eq!(
        desk.database.count("SELECT COUNT(*) AS count FROM audit_entries WHERE action = 'key.rotated'"),
        0
    );
    let new = text(&desk.run(&["key", "rotate", "--org", &org.slug, "batch", "--overlap", "0s"]));
    assert_eq!((old.get("/v1/models").status, server.api(&new).get("/v1/models").status), (401, 200));
}

#[test]
fn command_that_cannot_print_its_result_fails() {
    let (desk, _server, org) = desk();
    for arguments in [
        &["key", "list", "--org", &org.slug][..],
        &["key", "show", "--org", &org.slug, "admin-key"],
        &["user", "list"],
        &["audit", "export", "--org", &org.slug],
        &["secret", "status"],
        &["--help"],
        &["--version"],
    ] {
        let (code, said) = run_without_output(&desk, "full", arguments);
        assert_eq!(code, Some(1), "{arguments:?} {said}");
        // As with `| head`.
        let (code, said) = run_without_output(&desk, "gone", arguments);
        assert_eq!((code, said.as_str()), (Some(1), ""), "{arguments:?}");
        assert_eq!(desk.run(arguments).status.code(), Some(0), "{arguments:?}");
    }
    let wrong = run_without_output(&desk, "full", &["key", "unknown"]);
    assert_eq!(wrong.0, Some(2), "{}", wrong.1);
    // Standard error is not the result.
    let create = ["key", "create", "--org", &org.slug, "--name", "quiet", "--scope", "inference:read"];
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    assert!(is_key(&text(&desk.command(&create).stderr(full).output().unwrap())));
}

#[test]
fn commands_fail_without_a_database() {
    let desk = Desk::new();
    for arguments in [&["audit", "verify"][..], &["secret", "status"]] {
        let output = desk.run(arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{said}");
        assert!(said.contains("there is no organisation in"), "{said}");
    }
}
