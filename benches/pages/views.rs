//! What is looked at.

use anyhow::{Context, Result, bail};
use jiff::{Timestamp, ToSpan};

use crate::server::Server;

/// Pages by name and path.
pub(crate) fn all(server: &Server) -> Result<Vec<(String, String)>> {
    let today = Timestamp::now();
    let day = |ago: i64| today.checked_sub((24 * ago).hours()).map(|at| at.to_string()[..10].to_owned());
    let custom = |from, to| Ok::<_, jiff::Error>(format!("range=custom&from={}&to={}", day(from)?, day(to)?));
    let key = id(&server.get("/o/large/usage")?, "/keys/", "/usage").context("a key that was used")?;
    let owner = id(&server.get("/o/large/usage?by=person")?, "owner=", "\"").context("an owner")?;
    let owner = owner.split('&').next().unwrap_or_default().to_owned();
    let mut pages = Vec::new();
    let mut add = |name: String, path: String| pages.push((name, format!("/o/large{path}")));
    let ranges = ["range=24h", "range=7d", "range=30d", "range=90d"];
    for range in ranges {
        let name = &range[6..];
        add(format!("usage, {name}"), format!("/usage?{range}"));
        for sort in ["tokens", "failed", "limited"] {
            add(format!("usage, {name}, most {sort}"), format!("/usage?{range}&sort={sort}"));
        }
        for by in ["model", "scope", "person"] {
            add(format!("usage, {name}, by {by}"), format!("/usage?{range}&by={by}"));
        }
        for (filter, value) in [("model", "model-3"), ("scope", "inference:write"), ("owner", &owner)] {
            add(format!("usage, {name}, one {filter}"), format!("/usage?{range}&{filter}={value}"));
        }
    }
    let month = ranges[2];
    for (name, more) in [
        ("least", "dir=reversed"),
        ("page 2", "page=2"),
        ("page 100", "page=100"),
        ("page 300", "page=300"),
        ("one model, most failed", "model=model-3&sort=failed"),
        ("one scope and model", "scope=inference:write&model=model-3"),
        ("one owner and model", &format!("owner={owner}&model=model-3")),
    ] {
        add(format!("usage, 30d, {name}"), format!("/usage?{month}&{more}"));
    }
    for (days, from, to) in [(1, 4, 4), (10, 20, 11), (60, 70, 11)] {
        let range = custom(from, to)?;
        add(format!("usage, {days} chosen days"), format!("/usage?{range}"));
        add(format!("usage, {days} chosen days, page 2"), format!("/usage?{range}&page=2"));
        add(format!("usage, {days} chosen days, one model"), format!("/usage?{range}&model=model-3"));
        add(format!("usage, {days} chosen days, by person"), format!("/usage?{range}&by=person"));
    }
    for by in ["scope", "model", "address", "secret"] {
        add(format!("usage of a key, 90d, by {by}"), format!("/keys/{key}/usage?range=90d&by={by}"));
    }
    add("usage of a key, chosen days".to_owned(), format!("/keys/{key}/usage?{}", custom(70, 11)?));
    add("review".to_owned(), "/review".to_owned());
    for card in [
        "called_after_end",
        "owner_left",
        "ends_soon",
        "many_errors",
        "new_address",
        "scope_unused",
        "never_used",
        "idle_90_days",
        "idle_30_days",
        "no_expiry",
    ] {
        add(format!("review, {card}"), format!("/review?card={card}"));
    }
    add("review, never_used, page 10".to_owned(), "/review?card=never_used&page=10".to_owned());
    add("review, print view".to_owned(), "/review/print".to_owned());
    for (name, query) in [
        ("keys", ""),
        ("keys, expired", "?status=expired"),
        ("keys, page 100", "?page=100"),
        ("keys, search that finds one", "?q=key-7777"),
        ("keys, search that finds many", "?q=key-7"),
        ("keys, search that finds none", "?q=nothing"),
        ("keys, search by last four", "?q=5678"),
    ] {
        add(name.to_owned(), format!("/keys{query}"));
    }
    add("a key".to_owned(), format!("/keys/{key}"));
    let (middle, actor, target) = of_trail(server)?;
    for (name, query) in [
        ("", String::new()),
        (", one kind", "?kind=key".to_owned()),
        (", a rare action", "?kind=organization.updated".to_owned()),
        (", by one person", format!("?actor={actor}")),
        (", by one person, one kind", format!("?actor={actor}&kind=key")),
        (", about one", format!("?target={target}")),
        (", 24h", "?range=24h".to_owned()),
        (", a chosen day", format!("?range=custom&from={0}&to={0}", day(300)?)),
        (", a chosen day, one action", format!("?range=custom&from={0}&to={0}&kind=key.revoked", day(300)?)),
        (", in the middle", format!("?before={middle}")),
        (", search for a person", "?q=person+7".to_owned()),
        (", search for keys", "?q=key-7".to_owned()),
        (", search for one key", "?q=key-7777".to_owned()),
        (", search that finds none", "?q=nothing".to_owned()),
        (", search for an address", "?q=203.0.113.7".to_owned()),
    ] {
        add(format!("audit{name}"), format!("/audit{query}"));
    }
    add("audit, an entry".to_owned(), format!("/audit/{middle}"));
    add("audit, proof".to_owned(), "/audit/proof".to_owned());
    add("refusals".to_owned(), "/refusals".to_owned());
    Ok(pages)
}

/// The place of an entry in the middle of the audit trail, who acted there, and about what.
fn of_trail(server: &Server) -> Result<(i64, String, String)> {
    let newest = server.get("/o/large/audit")?;
    let older = newest.split("before=").nth(1).context("older entries")?;
    let last: i64 = older.chars().take_while(char::is_ascii_digit).collect::<String>().parse()?;
    for middle in last / 2.. {
        let entry = server.get(&format!("/o/large/audit/{middle}"))?;
        let by = |start: &str| id(&entry, start, "\"");
        if let (Some(actor), Some(target)) = (by("audit?actor="), by("audit?target="))
            && actor.starts_with("user_")
            && target.starts_with("key_")
        {
            return Ok((middle, actor, target));
        }
    }
    bail!("no person did anything to a key")
}

/// What stands between two texts at their first place.
fn id(body: &str, before: &str, after: &str) -> Option<String> {
    let mut parts = body.split(before).skip(1).filter_map(|rest| rest.split(after).next());
    parts.find(|id| id.starts_with("key_") || id.starts_with("user_")).map(str::to_owned)
}
