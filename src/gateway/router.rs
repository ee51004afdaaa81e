//! Decides where a request goes: to the upstreams of its model in the catalogue, one after the other, or to the one
//! upstream of an installation without a catalogue. A key calls only the models that it may call.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use actix_web::web::Bytes;
use arc_swap::ArcSwapOption;
use serde_json::{Value, json};

use crate::catalogue::current::{CurrentCatalogue, LoadedCatalogue};
use crate::catalogue::health::Health;
use crate::catalogue::{Catalogue, Kind, Model, ModelServer};
use crate::error::Error;
use crate::gateway::body_model;
use crate::gateway::off_thread::off_thread;
use crate::gateway::reply::{Reply, Route, unreadable};
use crate::gateway::upstream::forward::Forwarded;
use crate::gateway::upstream::{ClientOptions, Miss, Patience, Server, Turn, Upstream};
use crate::time::Time;
use crate::verify::decision;
use crate::web::problem::{Code, Problem};
use crate::web::ticket::Ticket;

/// The most models that a refusal names.
const MAX_NAMED: usize = 20;

/// The upstreams of this process.
pub struct Router {
    catalogue: Arc<CurrentCatalogue>,
    /// Where requests go without a catalogue.
    single: Upstream,
    /// The catalogue may set another timeout for an upstream.
    options: ClientOptions,
    health: Arc<Health>,
    connected: ArcSwapOption<Connected>,
    /// Held while [`Router::connected`] is replaced.
    replacing: Mutex<()>,
}

/// A catalogue with a client for each of its upstreams.
struct Connected {
    loaded: Arc<LoadedCatalogue>,
    servers: HashMap<String, Arc<Server>>,
}

impl Router {
    /// `single` is used without a catalogue.
    pub fn new(
        catalogue: Arc<CurrentCatalogue>,
        single: Upstream,
        options: ClientOptions,
        health: Arc<Health>,
    ) -> Result<Router, reqwest::Error> {
        let router = Router {
            catalogue,
            single,
            options,
            health,
            connected: ArcSwapOption::empty(),
            replacing: Mutex::new(()),
        };
        router.connected()?;
        Ok(router)
    }

    /// The catalogue in effect, with clients; `None` without a catalogue.
    fn connected(&self) -> Result<Option<Arc<Connected>>, reqwest::Error> {
        let Some(loaded) = self.catalogue.get() else { return Ok(None) };
        let is_current = |connected: &Arc<Connected>| Arc::ptr_eq(&connected.loaded, &loaded);
        if let Some(connected) = self.connected.load_full().filter(is_current) {
            return Ok(Some(connected));
        }
        let _held = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.connected.load_full();
        if let Some(connected) = before.clone().filter(is_current) {
            return Ok(Some(connected));
        }
        let mut servers = HashMap::new();
        for definition in &loaded.catalogue.servers {
            // An upstream that has not changed keeps its connections.
            let known = before.as_ref().and_then(|before| {
                let is_same = before.loaded.catalogue.servers.contains(definition);
                before.servers.get(&definition.name).filter(|_| is_same).cloned()
            });
            let server = match known {
                Some(server) => server,
                None => Arc::new(self.connect(definition)?),
            };
            servers.insert(definition.name.clone(), server);
        }
        let connected = Arc::new(Connected { loaded, servers });
        self.connected.store(Some(connected.clone()));
        Ok(Some(connected))
    }

    fn connect(&self, server: &ModelServer) -> Result<Server, reqwest::Error> {
        let own = server.timeout.map(|time| Patience { time, setting: "timeout in the model catalogue" });
        let patience = own.unwrap_or(self.options.patience);
        let options = ClientOptions { patience, ..self.options.clone() };
        Server::new(Some(&server.name), &server.url, server.key.clone(), &options)
    }

    /// The catalogue in effect, with clients, for a request.
    fn for_request(&self) -> Result<Option<Arc<Connected>>, Problem> {
        self.connected().map_err(|error| Error::internal(error).into())
    }

    /// Sends a request for the model of the ticket. The response of the first upstream that works is returned; the
    /// next one is tried only while nothing was passed on and the request can't have been charged for.
    ///
    /// Errors: `model_not_found`, `model_not_allowed`, and the failures of the last upstream.
    pub async fn call(
        &self,
        route: Route,
        body: Bytes,
        ticket: &Ticket,
        forwarded: &Forwarded,
        now: Time,
    ) -> Result<Reply, Problem> {
        let name = ticket.model();
        let Some(connected) = self.for_request()? else {
            require_allowed(None, &name, ticket, now)?;
            return self.single.call(route, body, ticket, forwarded, now).await;
        };
        let catalogue = &connected.loaded.catalogue;
        let model = find(catalogue, &name)?;
        require_allowed(Some(catalogue), &name, ticket, now)?;
        let servers = catalogue.servers_of(model).filter(|server| server.kind == Kind::OpenAi);
        let servers: Vec<(&str, &Arc<Server>)> = servers
            .filter_map(|server| Some((server.name.as_str(), connected.servers.get(&server.name)?)))
            .collect();
        if servers.is_empty() {
            return Err(Problem::new(
                Code::ModelNotFound,
                format!(
                    "The model \"{name}\" can't be called through this route: its upstream speaks another API."
                ),
            ));
        }
        let body = if model.upstream_model == name {
            body
        } else {
            let upstream_model = model.upstream_model.clone();
            let replaced = off_thread(body.len(), move || body_model::replaced(&body, &upstream_model));
            replaced.await.flatten().ok_or_else(unreadable)?
        };
        for (place, (server_name, server)) in servers.iter().enumerate() {
            let turn = if place + 1 == servers.len() { Turn::Last } else { Turn::NotLast };
            let result = server.call(route, body.clone(), ticket, forwarded, turn).await;
            let failure = failure_of(&result, ticket);
            let ended = Time::now();
            self.health.record_upstream(server_name, failure.as_deref(), ended);
            if turn == Turn::NotLast && matches!(result, Err(Miss::TryNext(_))) {
                continue;
            }
            self.health.record_model(&name, failure.as_deref(), ended);
            return result.map_err(Miss::problem);
        }
        // There is at least one upstream, and the last one ends the loop.
        Err(unreadable())
    }

    /// The models that the key may call, as OpenAI's `GET /models` lists them.
    pub async fn models(&self, ticket: &Ticket, forwarded: &Forwarded, now: Time) -> Result<Value, Problem> {
        let models = match self.for_request()? {
            Some(connected) => connected
                .loaded
                .catalogue
                .models
                .iter()
                .map(|model| shown(model, &connected.loaded))
                .collect(),
            None => self.single.models(ticket, forwarded, now).await?,
        };
        let is_allowed = |model: &Value| may_call(ticket, model["id"].as_str().unwrap_or_default(), now);
        let models: Vec<Value> = models.into_iter().filter(is_allowed).collect();
        Ok(json!({ "object": "list", "data": models }))
    }

    /// One model, as OpenAI's `GET /models/{id}` shows it.
    ///
    /// Errors: `model_not_found`, `model_not_allowed`.
    pub async fn model(
        &self,
        name: &str,
        ticket: &Ticket,
        forwarded: &Forwarded,
        now: Time,
    ) -> Result<Value, Problem> {
        if let Some(connected) = self.for_request()? {
            let model = find(&connected.loaded.catalogue, name)?;
            require_allowed(Some(&connected.loaded.catalogue), name, ticket, now)?;
            return Ok(shown(model, &connected.loaded));
        }
        let models = self.single.models(ticket, forwarded, now).await?;
        let model = models.into_iter().find(|model| model["id"] == name).ok_or_else(|| not_found(name))?;
        require_allowed(None, name, ticket, now)?;
        Ok(model)
    }
}

/// Why an upstream failed, in a few words; `None` if it works, even if it refused the request.
fn failure_of(result: &Result<Reply, Miss>, ticket: &Ticket) -> Option<String> {
    let reason = match result {
        Ok(reply) => {
            let status = reply.status.as_u16();
            return (status == 429 || status >= 500).then(|| format!("status {status}"));
        }
        Err(Miss::TryNext(reason)) => reason.as_str(),
        Err(Miss::Problem(problem)) => &*problem.detail,
    };
    match ticket.upstream().status {
        Some(status) if status >= 400 => Some(format!("status {status}")),
        // The rest of a problem's text is advice for the client.
        _ => Some(reason.split(". ").next().unwrap_or_default().trim_end_matches('.').to_owned()),
    }
}

/// A model of the catalogue in the form of OpenAI's API.
fn shown(model: &Model, loaded: &LoadedCatalogue) -> Value {
    let owner = model.upstreams.first();
    json!({"id": model.name, "object": "model", "created": loaded.read_at.seconds(), "owned_by": owner})
}

fn find<'a>(catalogue: &'a Catalogue, name: &str) -> Result<&'a Model, Problem> {
    catalogue.model(name).ok_or_else(|| not_found(name))
}

fn not_found(name: &str) -> Problem {
    let name: String = name.chars().take(200).collect();
    let detail = format!("There is no model named {name:?}. `GET /v1/models` lists the available ones.");
    Problem::new(Code::ModelNotFound, detail)
}

fn may_call(ticket: &Ticket, model: &str, now: Time) -> bool {
    decision::may_call(ticket.key(), model, now)
}

/// Error: `model_not_allowed`, which names what the key may call.
fn require_allowed(
    catalogue: Option<&Catalogue>,
    model: &str,
    ticket: &Ticket,
    now: Time,
) -> Result<(), Problem> {
    if may_call(ticket, model, now) {
        return Ok(());
    }
    let allowed: Vec<String> = match catalogue {
        Some(catalogue) => {
            let models = catalogue.models.iter().map(|model| model.name.clone());
            models.filter(|name| may_call(ticket, name, now)).collect()
        }
        None => decision::effective_models(ticket.key(), now).map(|list| list.texts()).unwrap_or_default(),
    };
    let named = allowed[..allowed.len().min(MAX_NAMED)].join(", ");
    let model: String = model.chars().take(200).collect();
    let detail = match allowed.len() {
        0 => format!("This key may not call {model:?}, and no other model either."),
        count if count > MAX_NAMED => {
            format!("This key may not call {model:?}. It may call {named} and {} more.", count - MAX_NAMED)
        }
        _ => format!("This key may not call {model:?}. It may call {named}."),
    };
    Err(Problem::new(Code::ModelNotAllowed, detail))
}
