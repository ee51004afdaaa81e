//! `GET /v1/openapi.json`: the API as OpenAPI 3.1. Methods, paths and permissions come from the
//! route table, schemas from the types, everything else from [`operations`].

pub mod operations;
mod responses;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use actix_web::{HttpResponse, web};
use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use crate::api::openapi::operations::Body;
pub use crate::api::openapi::operations::Operation;
use crate::api::openapi::responses::Shared;
use crate::api::{audit, keys, object, rotation, usage, verify};
use crate::gateway::inference;
use crate::keys::Status;
use crate::keys::settings::KeySettings;
use crate::path::{self, Pattern};
use crate::scope::Scope;
use crate::web::endpoint::{Endpoint, Method};
use crate::web::permission::Permission;
use crate::web::problem::{self, Code};

#[derive(OpenApi)]
#[openapi(components(schemas(
    keys::CreateBody,
    keys::PatchBody,
    keys::RevokeBody,
    rotation::RotateBody,
    rotation::RotationBody,
    object::ApiKey<'static>,
    KeySettings,
    object::Page,
    verify::VerifyBody,
    verify::VerifyAnswer<'static>,
    usage::Usage,
    audit::AuditEvents,
    audit::AuditProof,
    inference::InferenceBody,
    inference::InferenceAnswer<'static>,
    problem::Document<'static>,
)))]
struct Schemas;

/// The subjects of operations.
const TAGS: [(&str, &str); 6] = [
    ("API keys", "Create, list, change, rotate and revoke keys."),
    ("Verification", "Check the keys of clients, for services and proxies."),
    ("Inference", "See and call models."),
    ("Usage", "Read what was used."),
    ("Audit log", "Read and prove the audit log."),
    ("Document", "This document."),
];

/// The document, built when it is first needed.
pub type SharedDocument = web::Data<LazyLock<Document>>;

/// The API as OpenAPI 3.1.
pub struct Document {
    /// In the order of the route table.
    pub calls: Vec<Call>,
    pub json: Value,
    text: web::Bytes,
}

/// A route of the API with its description.
pub struct Call {
    pub endpoint: Endpoint,
    pub operation: Operation,
}

/// `GET /v1/openapi.json`.
pub async fn serve(document: SharedDocument) -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(document.text.clone())
}

impl Document {
    /// The document of these routes.
    pub fn new(calls: Vec<Call>) -> Document {
        let json = build(&calls);
        Document { calls, text: json.to_string().into(), json }
    }
}

impl Call {
    /// The path in the document's notation.
    pub fn path(&self) -> String {
        self.endpoint.path.as_str().replace(":.*", "")
    }

    /// The method under which the document describes it. A route that answers any method is described once.
    pub fn method(&self) -> Method {
        if self.endpoint.method == Method::ANY { Method::GET } else { self.endpoint.method }
    }

    fn names_key(&self) -> bool {
        self.endpoint.path.as_str().contains("{id}")
    }
}

fn build(calls: &[Call]) -> Value {
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    let mut shared = Shared::default();
    for call in calls {
        let method = call.method().name().to_lowercase();
        let operation = operation(call, &mut shared);
        paths.entry(call.path()).or_default().insert(method, operation);
    }
    let mut schemas = schemas();
    let names = |names: &[&str]| json!(names);
    schemas["ApiKey"]["properties"]["status"]["enum"] = names(&Status::ALL.map(Status::name));
    schemas["ApiKey"]["properties"]["object"]["enum"] = names(&["api_key"]);
    for body in ["CreateBody", "PatchBody", "VerifyBody", "ApiKey"] {
        schemas[body]["properties"]["scopes"]["items"]["enum"] = names(&Scope::ALL.map(Scope::name));
    }
    schemas["CreateBody"]["not"] = json!({"required": ["expires_in_days", "expires_at"]});
    let codes: Vec<&str> = Code::ALL.iter().map(|code| code.name()).collect();
    schemas["Problem"]["properties"]["code"]["enum"] = names(&codes);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Keydesk",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Create, verify and revoke API keys, and call models with them.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "security": [{"key": []}],
        "tags": TAGS.map(|(name, description)| json!({"name": name, "description": description})),
        "paths": paths,
        "components": {
            "schemas": schemas,
            "headers": shared.headers,
            "responses": shared.responses,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "An API key."},
                "basic": {"type": "http", "scheme": "basic", "description": "An API key as the password."},
            },
        },
    })
}

fn schemas() -> Value {
    let mut document = serde_json::to_value(Schemas::openapi()).unwrap_or_default();
    let mut schemas = document["components"]["schemas"].take();
    let settings = schemas.as_object_mut().and_then(|schemas| schemas.remove("KeySettings"));
    add_members(&mut schemas["ApiKey"], settings.unwrap_or_default());
    schemas
}

/// Adds the members of another object to an object's schema, as `#[serde(flatten)]` adds them to the
/// object.
fn add_members(object: &mut Value, mut other: Value) {
    if let (Some(own), Some(added)) =
        (object["properties"].as_object_mut(), other["properties"].as_object_mut())
    {
        own.append(added);
    }
    if let (Some(own), Some(added)) = (object["required"].as_array_mut(), other["required"].as_array_mut()) {
        own.append(added);
    }
}

fn operation(call: &Call, shared: &mut Shared) -> Value {
    let (permission, pattern) = (call.endpoint.permission, call.endpoint.path.as_str());
    let query = call.operation.query.iter();
    let query = query.map(|(name, meaning, schema)| parameter(name, "query", false, meaning, schema.clone()));
    let mut parameters: Vec<Value> = query.collect();
    if call.names_key() {
        parameters.push(parameter("id", "path", true, "The key's id: `key_…`.", json!({"type": "string"})));
    }
    if pattern.contains("{rest") {
        parameters.push(parameter(
            "rest",
            "path",
            true,
            "The path of the original request.",
            json!({"type": "string"}),
        ));
    }
    if pattern.contains("{model") {
        let meaning = "The model's name, which may contain slashes.";
        parameters.push(parameter("model", "path", true, meaning, json!({"type": "string"})));
    }
    if call.operation.idempotent {
        let schema = json!({"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,255}$"});
        let meaning = "Makes a repeated request take effect only once. Within ten minutes, the response repeats the secret.";
        parameters.push(parameter("Idempotency-Key", "header", false, meaning, schema));
    }
    let name = format!(
        "{} {}",
        call.method().name().to_lowercase(),
        pattern.trim_start_matches(path::API).trim_start_matches('/')
    );
    let name = name.replace(|letter: char| !letter.is_ascii_alphanumeric(), "_");
    let mut operation = json!({
        "operationId": name,
        "tags": [tag(call)],
        "summary": call.operation.summary,
        "description": needs(permission),
        "responses": shared.responses(call),
    });
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    match call.endpoint.path {
        _ if permission == Permission::Public => operation["security"] = json!([]),
        Pattern::v1_introspect => operation["security"] = json!([{"key": []}, {"basic": []}]),
        _ => {}
    }
    if let Some(body) = body(&call.operation.body) {
        operation["requestBody"] = body;
    }
    operation
}

/// The tag of an operation: the subject that most operations with the same permission have.
fn tag(call: &Call) -> &'static str {
    let [keys, checks, models, usage, audit, document] = TAGS.map(|(name, _)| name);
    match call.endpoint.permission {
        Permission::Key(Scope::KeysVerify) | Permission::ScopesInQuery => checks,
        Permission::Key(Scope::InferenceRead | Scope::InferenceWrite) => models,
        Permission::Key(Scope::AnalyticsRead) => usage,
        Permission::Public => document,
        _ if call.endpoint.path.as_str().contains("/audit") => audit,
        _ => keys,
    }
}

fn parameter(name: &str, place: &str, required: bool, meaning: &str, schema: Value) -> Value {
    json!({"name": name, "in": place, "required": required, "description": meaning, "schema": schema})
}

fn needs(permission: Permission) -> String {
    match permission {
        Permission::Key(scope) => format!("Requires the scope `{scope}`."),
        Permission::AdminOrSelf => "Requires the scope `admin`, unless a key acts on itself.".to_owned(),
        Permission::ScopesInQuery => {
            "Requires the scopes that the query names. Answers every method alike.".to_owned()
        }
        Permission::AnyKey => "Requires any valid key.".to_owned(),
        _ => "Requires no key.".to_owned(),
    }
}

fn body(body: &Body) -> Option<Value> {
    let json = |schema: Value, required| json!({"required": required, "content": {"application/json": {"schema": schema}}});
    Some(match body {
        Body::None => return None,
        Body::Json(schema) => json(reference(schema), true),
        Body::OptionalJson(schema) => json(reference(schema), false),
        Body::Passed => {
            let known = json!({"model": {"type": "string"}, "stream": {"type": ["boolean", "null"]}});
            json(json!({"type": "object", "required": ["model"], "properties": known}), true)
        }
        Body::Token => {
            let token = json!({"token": {"type": "string", "description": "The key to introspect."}});
            let schema = json!({"type": "object", "required": ["token"], "properties": token});
            json!({"required": true, "content": {"application/x-www-form-urlencoded": {"schema": schema}}})
        }
    })
}

fn header(meaning: &str) -> Value {
    json!({"description": meaning, "schema": {"type": "string"}})
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}
