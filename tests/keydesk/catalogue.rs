//! The model catalogue: read at start and on SIGHUP, refused with the place of the error.

use std::path::PathBuf;

use crate::support::Desk;

const CREDENTIAL: &str = "sk-catalogue-credential";

const CATALOGUE: &str = r#"currency = "USD"

[[upstream]]
name = "main"
kind = "openai"
url = "http://127.0.0.1:9/v1"
key_env = "MAIN_KEY"

[[model]]
name = "gpt-4"
upstreams = ["main"]
price = { input = "2.50", output = "10.00" }
"#;

/// A desk with a catalogue, and its file.
fn desk_with(catalogue: &str) -> (Desk, PathBuf) {
    let desk = Desk::new();
    let file = desk.data.path().join("models.toml");
    std::fs::write(&file, catalogue).unwrap();
    let desk = desk.with("KEYDESK_MODELS_FILE", file.to_str().unwrap()).with("MAIN_KEY", CREDENTIAL);
    (desk, file)
}

#[test]
fn invalid_catalogue_is_refused_at_start_with_its_place() {
    for (from, to, place) in [
        ("\"2.50\"", "2.50", "models.toml, line 12, column 19: Write `input` as a string, in quotes."),
        (
            "[\"main\"]",
            "[\"other\"]",
            "models.toml, line 11, column 14: There is no [[upstream]] of this name.",
        ),
        ("MAIN_KEY", "ABSENT_KEY", "models.toml, line 7, column 11: The variable ABSENT_KEY is not set."),
        (
            "key_env = \"MAIN_KEY\"",
            "key = \"sk-in-the-file\"",
            "models.toml, line 7, column 1: A [[upstream]] has no member \"key\".",
        ),
    ] {
        let (desk, _) = desk_with(&CATALOGUE.replace(from, to));
        let refused = desk.run(&["serve"]);
        let message = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{message}");
        assert!(message.contains("KEYDESK_MODELS_FILE: ") && message.contains(place), "{message}");
        assert!(!message.contains("sk-in-the-file") && !message.contains(CREDENTIAL), "{message}");
        // Nothing was created yet.
        assert!(!desk.data.path().join("keydesk.sqlite3").exists());
    }
    let missing = Desk::new().with("KEYDESK_MODELS_FILE", "/nonexistent/models.toml").run(&["serve"]);
    let message = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert_eq!(missing.status.code(), Some(2));
    assert!(message.contains("KEYDESK_MODELS_FILE: /nonexistent/models.toml can't be read"), "{message}");
}

#[test]
fn catalogue_is_read_again_on_sighup_and_an_invalid_one_is_not_used() {
    let (desk, file) = desk_with(CATALOGUE);
    let server = desk.start();
    std::fs::write(&file, CATALOGUE.replace("\"2.50\"", "2.50")).unwrap();
    server.ask_to_reload();
    server.wait_for_log("the previous one stays in effect");
    server.wait_for_log("line 12, column 19: Write `input` as a string");
    std::fs::write(&file, CATALOGUE.replace("gpt-4", "gpt-5")).unwrap();
    server.ask_to_reload();
    // The previous catalogue was the first one, because the second was refused.
    server.wait_for_log("models added: gpt-5; models removed: gpt-4");
    assert_eq!(server.browser().get("/healthz").status, 200);
    assert!(!server.whole_log().contains(CREDENTIAL));
}

#[test]
fn sighup_without_a_catalogue_changes_nothing() {
    let desk = Desk::new();
    let server = desk.start();
    server.ask_to_reload();
    server.wait_for_log("KEYDESK_MODELS_FILE is not set");
    assert_eq!(server.browser().get("/healthz").status, 200);
}
