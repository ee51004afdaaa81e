//! The page of the model catalogue: models, upstreams, how they do, and who may call them.

use actix_web::HttpResponse;
use askama::Template;

use crate::catalogue::current::LoadedCatalogue;
use crate::catalogue::health::{Health, MINUTES, Record, State};
use crate::catalogue::{Catalogue, Model, ModelServer, list};
use crate::db::Conn;
use crate::error::Result;
use crate::id::OrgId;
use crate::keys::allowed_models::{self, Allowance};
use crate::path;
use crate::portal::kit::format;
use crate::portal::kit::visit::Visit;
use crate::portal::settings::Tabs;
use crate::role::Act;
use crate::time::Time;
use crate::usage::question::{Filter, Group, Question, Range};
use crate::usage::top;
use crate::web::page::{Layout, NavSection, OrgLink};
use crate::web::problem::Problem;

/// Days of usage in which models without a price are looked for.
const USE_DAYS: i64 = 30;

#[derive(Template)]
#[template(path = "portal/settings/models.html")]
struct ModelsPage {
    layout: Layout,
    org: OrgLink,
    tabs: Tabs,
    /// `None` without a catalogue.
    catalogue: Option<CatalogueView>,
    zone: String,
}

struct CatalogueView {
    models: Vec<ModelRow>,
    servers: Vec<ServerRow>,
    /// Such as `USD`; `None` if no model has a price.
    currency: Option<String>,
    read_at: String,
    /// Models that fail at present, with what their upstreams said.
    failing: Vec<String>,
    /// Models that were called lately and have no price.
    unpriced: Vec<String>,
    /// Whether the visitor may see addresses and how many keys may call a model.
    sees_all: bool,
}

struct ModelRow {
    name: String,
    sent_as: Option<String>,
    upstreams: String,
    /// Input and output per million tokens.
    price: Option<(String, String)>,
    cached: Option<String>,
    max_output: Option<String>,
    health: HealthView,
    /// Who may call it; `None` if the visitor may not see all keys.
    callers: Option<String>,
}

struct ServerRow {
    name: String,
    kind: &'static str,
    /// `None` if the visitor may not see it.
    address: Option<String>,
    health: HealthView,
}

/// A badge and a line below it.
struct HealthView {
    class: &'static str,
    label: &'static str,
    detail: String,
}

/// `GET /o/{org}/settings/models`.
pub async fn show(visit: Visit) -> Result<HttpResponse, Problem> {
    let (org, role, now) = (visit.org.id, visit.role, visit.now);
    let loaded = visit.site.catalogue.get();
    let has_catalogue = loaded.is_some();
    let found = visit.read(move |conn| {
        let facts = if has_catalogue { Some(Facts::read(conn, org, now)?) } else { None };
        Ok((facts, Tabs::count_requests(conn, org, role, now)?))
    });
    let (facts, requests) = found.await?;
    let catalogue = loaded.zip(facts).map(|(loaded, facts)| CatalogueView::new(&visit, &loaded, &facts));
    let view = ModelsPage {
        layout: visit.layout(NavSection::Settings),
        org: visit.org_link(),
        tabs: Tabs::new(&visit, "models", requests),
        catalogue,
        zone: visit.zone_name(),
    };
    visit.page(&view)
}

/// What the database knows about models.
struct Facts {
    allowances: Vec<Allowance>,
    /// The names that were called lately.
    called: Vec<String>,
}

impl Facts {
    fn read(conn: &mut Conn, org: OrgId, now: Time) -> Result<Facts> {
        let question =
            Question { range: Range::last(USE_DAYS, now), filter: Filter::default(), group: Group::All };
        let called = top::models(conn, org, &question)?.into_iter().map(|(name, _)| name);
        Ok(Facts { allowances: allowed_models::read(conn, org, now)?, called: called.collect() })
    }
}

impl CatalogueView {
    fn new(visit: &Visit, loaded: &LoadedCatalogue, facts: &Facts) -> CatalogueView {
        let catalogue = &loaded.catalogue;
        let health = &visit.site.health;
        let sees_all = visit.role.may(Act::WriteSettings);
        let models: Vec<ModelRow> = catalogue
            .models
            .iter()
            .map(|model| ModelRow::new(visit, catalogue, model, facts, sees_all))
            .collect();
        let is_failing =
            |model: &&Model| matches!(health.model(&model.name).state(visit.now), State::Failing { .. });
        let is_unpriced = |model: &&Model| model.price.is_none() && facts.called.contains(&model.name);
        let names = |those: &mut dyn Iterator<Item = &Model>| those.map(|model| model.name.clone()).collect();
        CatalogueView {
            servers: catalogue.servers.iter().map(|server| ServerRow::new(visit, server, sees_all)).collect(),
            currency: catalogue.currency.map(|currency| currency.to_string()),
            read_at: format::date_time(loaded.read_at, &visit.zone),
            failing: names(&mut catalogue.models.iter().filter(is_failing)),
            unpriced: names(&mut catalogue.models.iter().filter(is_unpriced)),
            models,
            sees_all,
        }
    }
}

impl ModelRow {
    fn new(visit: &Visit, catalogue: &Catalogue, model: &Model, facts: &Facts, sees_all: bool) -> ModelRow {
        let health = &visit.site.health;
        let price = model.price.as_ref();
        ModelRow {
            name: model.name.clone(),
            sent_as: (model.upstream_model != model.name).then(|| model.upstream_model.clone()),
            upstreams: model.upstreams.join(", then "),
            price: price.map(|price| (price.input.to_string(), price.output.to_string())),
            cached: price
                .filter(|price| price.cached_input != price.input)
                .map(|price| price.cached_input.to_string()),
            max_output: model.max_output.map(|tokens| format::number(tokens.into())),
            health: of_model(visit, catalogue, model, health),
            callers: sees_all.then(|| callers(&facts.allowances, &model.name)),
        }
    }
}

impl ServerRow {
    fn new(visit: &Visit, server: &ModelServer, sees_all: bool) -> ServerRow {
        ServerRow {
            name: server.name.clone(),
            kind: server.kind.name(),
            address: sees_all.then(|| server.url.clone()),
            health: HealthView::new(visit, &visit.site.health.upstream(&server.name)),
        }
    }
}

/// The health of a model: it works on second choice if its first upstream fails and another one does not.
fn of_model(visit: &Visit, catalogue: &Catalogue, model: &Model, health: &Health) -> HealthView {
    let record = health.model(&model.name);
    let first = catalogue.servers_of(model).next().map(|server| (server, health.upstream(&server.name)));
    if let Some((server, first)) = first
        && record.state(visit.now) == State::Working
        && let State::Failing { since, .. } = first.state(visit.now)
    {
        let detail = format!("{} has been failing since {}", server.name, format::clock(since, &visit.zone));
        return HealthView { class: "expiring", label: "On second choice", detail };
    }
    HealthView::new(visit, &record)
}

impl HealthView {
    fn new(visit: &Visit, record: &Record) -> HealthView {
        let (requests, failures) = record.recent(visit.now);
        let rate =
            format!("{} of {} failed", format::number(failures.into()), format::number(requests.into()));
        match record.state(visit.now) {
            State::NotCalled => HealthView {
                class: "disabled",
                label: "Not called",
                detail: "in the last 24 hours".to_owned(),
            },
            State::Working => HealthView { class: "active", label: "Working", detail: rate },
            State::Failing { since, cause } => {
                let since = format::clock(since, &visit.zone);
                HealthView {
                    class: "expired",
                    label: "Failing",
                    detail: format!("since {since}: {cause}, {rate}"),
                }
            }
        }
    }
}

/// How many keys may call a model.
fn callers(allowances: &[Allowance], model: &str) -> String {
    let all: i64 = allowances.iter().map(|allowance| allowance.keys).sum();
    let may = |allowance: &&Allowance| list::allows(allowance.models.as_ref(), model);
    match allowances.iter().filter(may).map(|allowance| allowance.keys).sum::<i64>() {
        0 => "No key".to_owned(),
        some if some == all => "All keys".to_owned(),
        some => format!("{} of {}", format::number(some), format::count(all, "key", "keys")),
    }
}

impl ModelsPage {
    fn count(&self, length: usize) -> i64 {
        i64::try_from(length).unwrap_or(i64::MAX)
    }

    fn minutes(&self) -> usize {
        MINUTES
    }
}
