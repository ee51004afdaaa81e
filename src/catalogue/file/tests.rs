#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use super::*;

const EXAMPLE: &str = r#"currency = "USD"

[[upstream]]
name = "openai"
kind = "openai"
url = "https://models.example/v1/"
key_env = "OPENAI_API_KEY"
timeout = "90s"

[[upstream]]
name = "backup"
kind = "openai"
url = "http://10.2.9.4:8000/v1"

[[model]]
name = "gpt-4"
upstreams = ["openai", "backup"]
upstream_model = "gpt-4-0613"
max_output = 8192
price = { input = "2.50", cached_input = "1.25", cache_write = "3.125", output = "10.00" }

[[model]]
name = "org/embed"
upstreams = ["backup"]
"#;

fn environment(name: &str) -> Option<String> {
    match name {
        "OPENAI_API_KEY" => Some(" sk-test \n".to_owned()),
        "EMPTY" => Some(String::new()),
        "BROKEN" => Some("sk-\u{7}x".to_owned()),
        _ => None,
    }
}

fn load_text(text: &str) -> std::result::Result<Catalogue, CatalogueError> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("models.toml");
    std::fs::write(folder.path().join("key"), "sk-file\n").unwrap();
    std::fs::write(folder.path().join("long-key"), "x".repeat(20_000)).unwrap();
    std::fs::write(&file, text).unwrap();
    load(&file, &environment)
}

/// The place and message of the error after `from` was replaced by `to` in the example.
fn refusal(from: &str, to: &str) -> (usize, usize, String) {
    assert!(EXAMPLE.contains(from), "{from}");
    match load_text(&EXAMPLE.replacen(from, to, 1)) {
        Err(CatalogueError::Invalid { line, column, message, .. }) => (line, column, message),
        other => panic!("{from} -> {to}: {other:?}"),
    }
}

#[test]
fn a_complete_catalogue_is_read() {
    use secrecy::ExposeSecret;

    let catalogue = load_text(EXAMPLE).unwrap();
    assert_eq!(catalogue.currency.unwrap().to_string(), "USD");
    let [first, second] = &catalogue.servers[..] else { panic!("two upstreams") };
    assert_eq!((first.kind, first.url.as_str()), (Kind::OpenAi, "https://models.example/v1"));
    assert_eq!(first.key.as_ref().unwrap().expose_secret(), "sk-test");
    assert_eq!((first.timeout, second.timeout), (Some(Duration::from_secs(90)), None));
    assert!(second.key.is_none());
    let model = catalogue.model("gpt-4").unwrap();
    assert_eq!((model.upstream_model.as_str(), model.max_output), ("gpt-4-0613", Some(8192)));
    let upstreams: Vec<_> = catalogue.servers_of(model).map(|server| server.name.as_str()).collect();
    assert_eq!(upstreams, ["openai", "backup"]);
    let price = model.price.unwrap();
    let shown =
        [price.input, price.cached_input, price.cache_write, price.output].map(|price| price.to_string());
    assert_eq!(shown, ["2.50", "1.25", "3.125", "10.00"]);
    let embedding = catalogue.model("org/embed").unwrap();
    assert_eq!((embedding.upstream_model.as_str(), embedding.price), ("org/embed", None));
    assert!(catalogue.model("gpt-4-0613").is_none());
    assert!(!format!("{catalogue:?}").contains("sk-test"));
}

#[test]
fn cached_input_costs_as_much_as_other_input_unless_priced() {
    let catalogue =
        load_text(&EXAMPLE.replace("cached_input = \"1.25\", cache_write = \"3.125\", ", "")).unwrap();
    let price = catalogue.model("gpt-4").unwrap().price.unwrap();
    assert_eq!((price.cached_input, price.cache_write), (price.input, price.input));
}

#[test]
fn a_credential_may_come_from_a_file_beside_the_catalogue() {
    use secrecy::ExposeSecret;

    let text = EXAMPLE.replace("key_env = \"OPENAI_API_KEY\"", "key_file = \"key\"");
    let catalogue = load_text(&text).unwrap();
    assert_eq!(catalogue.servers[0].key.as_ref().unwrap().expose_secret(), "sk-file");
}

#[test]
fn each_mistake_is_refused_with_its_place_and_a_remedy() {
    const KEY: &str = "key_env = \"OPENAI_API_KEY\"";
    const LIST: &str = "[\"openai\", \"backup\"]";
    let long = format!("name = \"{}\"", "m".repeat(201));
    for (from, to, line, part) in [
        // Unknown, missing and repeated members.
        ("currency", "currencies", 1, "has no member \"currencies\". Use currency, upstream, model."),
        (KEY, "key = \"sk-secret\"", 7, "has no member \"key\""),
        ("max_output", "max_tokens", 19, "has no member \"max_tokens\""),
        ("cached_input", "cached", 20, "has no member \"cached\""),
        ("url = \"https://models.example/v1/\"\n", "", 3, "Add `url` to this [[upstream]]."),
        (", output = \"10.00\"", "", 20, "Add `output` to this price."),
        ("upstreams = [\"backup\"]", "", 22, "Add `upstreams` to this [[model]]."),
        ("kind = \"openai\"", "kind = \"openai\"\nkind = \"openai\"", 6, "not valid TOML"),
        ("currency = \"USD\"\n", "", 19, "Add the currency"),
        // Values of the wrong type or form.
        ("\"USD\"", "\"usd\"", 1, "three capital letters"),
        ("\"USD\"", "USD", 1, "not valid TOML"),
        ("max_output = 8192", "max_output = 0", 19, "whole number from 1 to"),
        ("max_output = 8192", "max_output = -1", 19, "whole number from 1 to"),
        ("max_output = 8192", "max_output = \"8192\"", 19, "whole number from 1 to"),
        ("max_output = 8192", "max_output = 99999999999999999999", 19, "whole number from 1 to"),
        ("\"2.50\"", "2.50", 20, "Write `input` as a string"),
        ("\"2.50\"", "2", 20, "Write `input` as a string"),
        ("\"2.50\"", "\"-2.50\"", 20, "price per million tokens"),
        ("\"2.50\"", "\"12345678901234567890\"", 20, "at most 9 digits"),
        ("\"2.50\"", "\"0.1234567\"", 20, "6 after it"),
        ("price = {", "price = \"2.50\" # {", 20, "Write `price` as a table"),
        (LIST, "\"openai\"", 17, "as a list"),
        (LIST, "[5]", 17, "as a string"),
        ("\"90s\"", "\"90\"", 8, "duration from 1s to 24h"),
        ("\"90s\"", "\"0s\"", 8, "duration from 1s to 24h"),
        ("\"90s\"", "\"25h\"", 8, "duration from 1s to 24h"),
        ("kind = \"openai\"", "kind = \"ollama\"", 5, "\"openai\" or \"anthropic\""),
        // Names.
        ("name = \"openai\"", "name = \"Open AI\"", 4, "a-z, 0-9 and -"),
        ("name = \"openai\"", "name = \"\"", 4, "a-z, 0-9 and -"),
        ("name = \"backup\"", "name = \"openai\"", 11, "Another upstream"),
        ("name = \"org/embed\"", "name = \"gpt-4\"", 23, "Another model"),
        ("name = \"gpt-4\"", "name = \"gpt-*\"", 16, "without spaces, commas and *"),
        ("name = \"gpt-4\"", "name = \"gpt 4\"", 16, "without spaces, commas and *"),
        ("name = \"gpt-4\"", "name = \"gpt\\u00004\"", 16, "control"),
        ("name = \"gpt-4\"", "name = \"gpt\\u200B4\"", 16, "invisible"),
        ("name = \"gpt-4\"", &long, 16, "1 to 200 bytes"),
        ("upstream_model = \"gpt-4-0613\"", "upstream_model = \"\"", 18, "1 to 200 bytes"),
        // Upstreams.
        (LIST, "[]", 17, "at least one"),
        (LIST, "[\"openai\", \"cloud\"]", 17, "no [[upstream]] of this name"),
        (LIST, "[\"openai\", \"openai\"]", 17, "named twice"),
        ("https://models", "ftp://models", 6, "base URL"),
        ("https://models.example/v1/", "models.example/v1", 6, "base URL"),
        ("/v1/", "/v1?version=2", 6, "base URL"),
        ("https://models", "https://user:sk-secret@models", 6, "Take the credential out of the URL"),
        // Credentials.
        (KEY, "key_env = \"ABSENT\"", 7, "The variable ABSENT is not set"),
        (KEY, "key_env = \"sk-secret\"", 7, "does not belong here"),
        (KEY, "key_env = \"EMPTY\"", 7, "The variable EMPTY does not contain a credential"),
        (KEY, "key_env = \"BROKEN\"", 7, "The variable BROKEN does not contain a credential"),
        (KEY, "key_file = \"absent\"", 7, "absent can't be read"),
        (KEY, "key_file = \"long-key\"", 7, "does not contain a credential"),
        (KEY, "key_env = \"OPENAI_API_KEY\"\nkey_file = \"key\"", 8, "not both"),
    ] {
        let (at, column, message) = refusal(from, to);
        assert!(message.contains(part), "{from} -> {to}: {message}");
        assert_eq!(at, line, "{from} -> {to}: {message}");
        assert!(column >= 1 && !message.contains("sk-secret"), "{message}");
    }
}

#[test]
fn columns_count_characters() {
    let (line, column, _) =
        refusal("price = { input = \"2.50\"", "price = { \"ü\" = \"1\", input = \"2.50\"");
    assert_eq!((line, column), (20, 11));
    let (line, column, _) = refusal("upstream_model = \"gpt-4-0613\"", "upstream_model = \"ü\"; max");
    assert_eq!((line, column), (18, 21));
}

#[test]
fn a_catalogue_without_models_is_refused() {
    let text = EXAMPLE.split("[[model]]").next().unwrap();
    assert!(load_text(text).unwrap_err().to_string().contains("Add a [[model]]"));
    assert!(load_text("").is_err());
    let single = load_text("[model]\nname = \"a\"").unwrap_err().to_string();
    assert!(single.contains("Begin each model with a line [[model]]."), "{single}");
}

#[test]
fn files_that_are_no_text_of_moderate_size_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("models.toml");
    let error = |bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        load(&file, &environment).unwrap_err().to_string()
    };
    let padding = |length: usize| [EXAMPLE.as_bytes(), b"#", &vec![b'x'; length][..]].concat();
    assert!(error(&padding(1024 * 1024)).contains("larger than 1 MiB"));
    assert!(error(b"currency = \"USD\"\n# \xff").ends_with("line 2, column 3: Save the file as UTF-8."));
    assert!(load(folder.path(), &environment).is_err());
    assert!(
        load(Path::new("/nonexistent/models.toml"), &environment)
            .unwrap_err()
            .to_string()
            .contains("/nonexistent")
    );
    std::fs::write(&file, padding(1024 * 1024 - EXAMPLE.len() - 1)).unwrap();
    assert!(load(&file, &environment).is_ok());
    std::fs::write(&file, ["\u{feff}", EXAMPLE].concat()).unwrap();
    assert!(load(&file, &environment).is_ok());
}

#[test]
fn the_documented_example_is_valid() {
    let documentation = include_str!("../../../docs/operations.md");
    let example = documentation.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("cluster-key"), "secret").unwrap();
    std::fs::write(folder.path().join("models.toml"), example).unwrap();
    let catalogue = load(&folder.path().join("models.toml"), &|_| Some("secret".to_owned())).unwrap();
    assert_eq!((catalogue.servers.len(), catalogue.models.len()), (3, 3));
    assert!(catalogue.servers.iter().all(|server| server.key.is_some()));
}
