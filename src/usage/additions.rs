//! The statements that add rows of the journal to the tables of sums.

use crate::time::{DAY, HOUR, MINUTE};

/// How the value of an existing row changes.
#[derive(Clone, Copy)]
enum Merge {
    Add,
    Latest,
    Keep,
}

/// A column with the expression for its value.
type Column<'a> = (&'a str, &'a str);

/// The statements that add these rows of the journal to each table.
pub(super) fn additions(rows: &str) -> Vec<String> {
    const ORG: Column<'_> = ("org_id", "org_id");
    const KEY: Column<'_> = ("key_id", "key_id");
    const SECRET: Column<'_> = ("secret_id", "secret_id");
    const SCOPE: Column<'_> = ("scope", "scope");
    const MODEL: Column<'_> = ("model", "model");
    const OUTCOME: Column<'_> = ("outcome", "outcome");
    const BUCKET: Column<'_> = ("bucket", "bucket");
    const ADDRESS: Column<'_> = ("address", "address");
    const PROGRAM: Column<'_> = ("program", "program");
    const REQUESTS: (Column<'_>, Merge) = (("requests", "SUM(requests)"), Merge::Add);
    const TOKENS: [(Column<'_>, Merge); 6] = [
        REQUESTS,
        (("input_tokens", "SUM(input_tokens)"), Merge::Add),
        (("output_tokens", "SUM(output_tokens)"), Merge::Add),
        (("cached_tokens", "SUM(cached_tokens)"), Merge::Add),
        (("cache_write_tokens", "SUM(cache_write_tokens)"), Merge::Add),
        (("reasoning_tokens", "SUM(reasoning_tokens)"), Merge::Add),
    ];
    let floor = |width: i64| format!("start - start % {}", width * 1_000_000);
    let answered = &*format!("{rows} AND bucket >= 0");
    let with_scope = &*format!("{rows} AND scope <> ''");
    let mut all = Vec::new();
    for width in [MINUTE, HOUR, DAY] {
        let (width_text, start) = (width.to_string(), floor(width));
        let (width_is, start_is) = (("width", &*width_text), ("start", &*start));
        let by = [ORG, KEY, SECRET, SCOPE, MODEL, OUTCOME, width_is, start_is];
        all.push(addition("usage_counts", &by, &TOKENS, rows));
        if width == MINUTE {
            continue;
        }
        let by = [ORG, KEY, SCOPE, MODEL, BUCKET, width_is, start_is];
        all.push(addition("usage_latencies", &by, &[REQUESTS], answered));
        let by = [ORG, SCOPE, MODEL, OUTCOME, width_is, start_is];
        all.push(addition("usage_totals", &by, &TOKENS, rows));
        let by = [ORG, SCOPE, MODEL, BUCKET, width_is, start_is];
        all.push(addition("usage_total_latencies", &by, &[REQUESTS], answered));
    }
    let hour = floor(HOUR);
    let by = [ORG, KEY, SECRET, ADDRESS, PROGRAM, ("hour", &*hour)];
    let latest = (("last_at", "MAX(last_at)"), Merge::Latest);
    all.push(addition("usage_callers", &by, &[REQUESTS, latest], rows));
    let latest = (("last_used_at", "MAX(start)"), Merge::Latest);
    all.push(addition("scope_uses", &[ORG, KEY, SCOPE], &[latest], with_scope));
    let (first, last) = (format!("MIN({hour})"), format!("MAX({hour})"));
    let seen = [(("first_seen_at", &*first), Merge::Keep), (("last_seen_at", &*last), Merge::Latest)];
    all.push(addition("key_addresses", &[ORG, KEY, ADDRESS], &seen, rows));
    all
}

/// The statement that adds the rows of the journal that pass the filter to a table with the key `by`.
fn addition(table: &str, by: &[Column<'_>], values: &[(Column<'_>, Merge)], filter: &str) -> String {
    let all = || by.iter().chain(values.iter().map(|(column, _)| column));
    let join = |parts: Vec<String>| parts.join(", ");
    let columns = join(all().map(|(name, _)| (*name).to_owned()).collect());
    let expressions = join(all().map(|(_, expression)| (*expression).to_owned()).collect());
    let groups = join((1..=by.len()).map(|place| place.to_string()).collect());
    let places = join(by.iter().map(|(name, _)| (*name).to_owned()).collect());
    let changes = values.iter().filter_map(|((name, _), merge)| match merge {
        Merge::Add => Some(format!("{name} = {table}.{name} + excluded.{name}")),
        Merge::Latest => Some(format!(
            "{name} = CASE WHEN {table}.{name} > excluded.{name} THEN {table}.{name} ELSE excluded.{name} END"
        )),
        Merge::Keep => None,
    });
    let changes = join(changes.collect());
    // A row that would not change is not written.
    let is_news = values.iter().filter_map(|((name, _), merge)| match merge {
        Merge::Add => Some("TRUE".to_owned()),
        Merge::Latest => Some(format!("{table}.{name} IS NULL OR {table}.{name} < excluded.{name}")),
        Merge::Keep => None,
    });
    let is_news = is_news.collect::<Vec<_>>().join(" OR ");
    format!(
        "INSERT INTO {table} ({columns}) SELECT {expressions} FROM usage_journal WHERE {filter}
            GROUP BY {groups} ON CONFLICT ({places}) DO UPDATE SET {changes} WHERE {is_news}"
    )
}
