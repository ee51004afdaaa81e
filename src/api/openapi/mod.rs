//! `GET /v1/openapi.json`: the API as OpenAPI 3.1. Schemas come from the types, what a call
//! needs from the permission table, what it takes and answers from [`mod@calls`].

mod answers;
pub mod calls;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use actix_web::HttpResponse;
use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use crate::api::openapi::answers::responses;
use crate::api::openapi::calls::{Body, Call, calls};
use crate::api::{audit, keys, object, rotation, usage, verify};
use crate::gateway::inference;
use crate::keys::Status;
use crate::scope::Scope;
use crate::web::permission::{self, Permission};
use crate::web::problem::{self, Code};

#[derive(OpenApi)]
#[openapi(components(schemas(
    keys::CreateBody,
    keys::PatchBody,
    keys::RevokeBody,
    rotation::RotateBody,
    rotation::RotationBody,
    object::ApiKey<'static>,
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

/// The methods that a route for any method answers.
const ANY: [&str; 8] = ["GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE"];

static DOCUMENT: LazyLock<Value> = LazyLock::new(build);
static TEXT: LazyLock<String> = LazyLock::new(|| DOCUMENT.to_string());

/// `GET /v1/openapi.json`.
pub async fn serve() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(TEXT.as_str())
}

/// The document.
pub fn document() -> &'static Value {
    &DOCUMENT
}

fn build() -> Value {
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for call in calls() {
        let path = paths.entry(call.path.replace(":.*", "")).or_default();
        let methods: &[&str] = if call.method == "ANY" { &ANY } else { &[call.method] };
        for method in methods {
            path.insert(method.to_lowercase(), operation(&call, method));
            if *method == "GET" && call.method == "GET" {
                path.insert("head".to_owned(), operation(&call, "HEAD"));
            }
        }
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
            "description": "Create, check and revoke API keys, and call models with them.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "An API key."}},
        },
    })
}

fn schemas() -> Value {
    let document = serde_json::to_value(Schemas::openapi()).unwrap_or_default();
    document["components"]["schemas"].clone()
}

fn operation(call: &Call, method: &str) -> Value {
    let permission = permission::of(call.method, call.path).unwrap_or(Permission::Public);
    let mut parameters: Vec<Value> = call
        .query
        .iter()
        .map(|(name, meaning, schema)| parameter(name, "query", false, meaning, schema.clone()))
        .collect();
    if call.path.contains("{id}") {
        parameters.push(parameter("id", "path", true, "The key's id: `key_…`.", json!({"type": "string"})));
    }
    if call.path.contains("{rest") {
        parameters.push(parameter(
            "rest",
            "path",
            true,
            "The path that was called.",
            json!({"type": "string"}),
        ));
    }
    if call.idempotent {
        let schema = json!({"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,255}$"});
        let meaning = "Makes a repeated request act once; within ten minutes the answer repeats the key.";
        parameters.push(parameter("Idempotency-Key", "header", false, meaning, schema));
    }
    let name = format!("{} {}", method.to_lowercase(), call.path.trim_start_matches("/v1/"));
    let name = name.replace(|letter: char| !letter.is_ascii_alphanumeric(), "_");
    let mut operation = json!({
        "operationId": name,
        "summary": call.summary,
        "description": needs(permission),
        "parameters": parameters,
        "responses": responses(call, permission, method == "HEAD"),
    });
    if permission != Permission::Public {
        operation["security"] = json!([{"key": []}]);
    }
    if let Some(body) = body(&call.body) {
        operation["requestBody"] = body;
    }
    operation
}

fn parameter(name: &str, place: &str, required: bool, meaning: &str, schema: Value) -> Value {
    json!({"name": name, "in": place, "required": required, "description": meaning, "schema": schema})
}

fn needs(permission: Permission) -> String {
    match permission {
        Permission::Key(scope) => format!("Needs the scope `{scope}`."),
        Permission::AdminOrSelf => "Needs the scope `admin`, or is about the calling key itself.".to_owned(),
        Permission::Asked => "Needs the scopes that the query names.".to_owned(),
        Permission::AnyKey => "Needs any working key.".to_owned(),
        _ => "Needs no key.".to_owned(),
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
            let token = json!({"token": {"type": "string", "description": "The key in question."}});
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_of_the_api_is_described_and_nothing_else() {
        let mut routes: Vec<(&str, &str)> = permission::TABLE
            .iter()
            .filter(|(_, path, _)| path.starts_with("/v1/"))
            .map(|(method, path, _)| (*method, *path))
            .collect();
        let mut described: Vec<(&str, &str)> = calls().iter().map(|call| (call.method, call.path)).collect();
        routes.sort_unstable();
        described.sort_unstable();
        assert_eq!(described, routes);
    }

    #[test]
    fn every_schema_that_is_named_is_there() {
        let text = TEXT.as_str();
        for name in text.split("#/components/schemas/").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            assert!(DOCUMENT["components"]["schemas"][name].is_object(), "{name}");
        }
        for body in ["CreateBody", "PatchBody", "RevokeBody", "RotateBody", "VerifyBody", "InferenceBody"] {
            assert_eq!(DOCUMENT["components"]["schemas"][body]["additionalProperties"], false, "{body}");
        }
    }
}
