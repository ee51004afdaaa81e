//! Generates `docs/configuration.md` from the definitions of the options.

use std::fmt::Write;

use crate::config::options::Options;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");

const UPDATE: &str = "KEYDESK_UPDATE_DOCS=1 cargo test --lib configuration_page";

const INTRODUCTION: &str = "\
Keydesk reads its configuration once, when it starts, from environment variables. Every option that is \
not a secret is also a flag of `keydesk serve`, which wins over the variable: `--data-dir` stands for \
`KEYDESK_DATA_DIR`. Other commands read the variables only. Secrets are never flags, because every user \
of a machine can read the flags of its processes. Instead of a secret or the database URL, you can name \
a file that contains it: set `KEYDESK_SECRET_FILE` to its path and leave `KEYDESK_SECRET` unset; setting \
both is an error. Keydesk refuses to start with an empty or invalid value, names the variable and exits \
with status 2. It logs a warning about variables that begin with `KEYDESK_` and are unknown. A duration \
is a number with the unit `s`, `m`, `h` or `d`. `keydesk serve --help` lists the options of your version.";

const OTHER: &str = "\
## Other variables

Keydesk also honours these variables, which many programs share, for its requests to upstreams and sign-in \
providers. They have no flags. See [operations.md](operations.md#outbound-proxies).

| Variable | Default | Values | Meaning |
|---|---|---|---|
| `HTTPS_PROXY`, `https_proxy` | `ALL_PROXY` | `http://HOST:PORT`, `https://…`, `socks5://…` or `socks5h://…`; `USER:PASSWORD@` before the host | Proxy for requests to https addresses. |
| `HTTP_PROXY`, `http_proxy` | `ALL_PROXY` | the same | Proxy for requests to http addresses. Requests to this machine over http never use a proxy, because they are not encrypted. |
| `ALL_PROXY`, `all_proxy` | none | the same | Proxy for both. |
| `NO_PROXY`, `no_proxy` | none | hosts, domains, addresses and networks, separated by commas; `*` for all | Destinations that are requested directly. A domain includes its subdomains. |
| `SSL_CERT_FILE` | the certificates of the system | a file in PEM format | Certificate authorities that Keydesk trusts instead of the system’s, also for the mail server. |

As in curl, the name in lower case wins if both are set, and an empty variable counts as unset. A proxy or a file that can’t be used \
is refused when Keydesk starts.

";

const TLS: &str = "\
## TLS to PostgreSQL

`sslmode=require`, `verify-ca` and `verify-full` in the database URL need a build with TLS: \
`cargo build --release --features postgres-tls`. It builds OpenSSL and needs perl and make.
";

fn page() -> String {
    let mut page = format!(
        "# Configuration\n\n<!-- Generated from src/config/options.rs. To update: {UPDATE} -->\n\n{INTRODUCTION}\n"
    );
    let mut group = "";
    for option in Options::definitions() {
        if option.group != group {
            group = option.group;
            let _ =
                write!(page, "\n## {group}\n\n| Option | Default | Values | Meaning |\n|---|---|---|---|\n");
        }
        let names = [Some(option.variable.to_owned()), option.file_variable(), option.flag()];
        let mut names: Vec<_> = names.into_iter().flatten().map(|name| format!("`{name}`")).collect();
        if let [_, second, .., last] = &option.variables()[..] {
            names.push(format!("`{second}` to `{last}`"));
        }
        let values = if option.expected.is_empty() { "text" } else { &option.expected };
        let help = option.help.replace("`docs/operations.md`", "[operations.md](operations.md)");
        let names = names.join("<br>");
        let _ = writeln!(page, "| {names} | {} | {values} | {help} |", option.default);
    }
    page + "\n" + OTHER + TLS
}

#[test]
fn configuration_page_is_up_to_date() {
    let page = page();
    if std::env::var_os("KEYDESK_UPDATE_DOCS").is_some() {
        std::fs::write(PATH, &page).unwrap();
    }
    let stored = std::fs::read_to_string(PATH).unwrap_or_default();
    assert!(
        stored == page,
        "docs/configuration.md differs from src/config/options.rs. To update it: {UPDATE}"
    );
}
