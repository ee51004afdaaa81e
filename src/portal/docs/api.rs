//! `GET /docs/api`: the API's document as a page, without scripts or foreign assets.

use actix_web::HttpResponse;
use askama::Template;
use serde_json::Value;

use crate::api::openapi::{Document, SharedDocument};
use crate::path;
use crate::portal::kit::visit::GuestVisit;
use crate::web::page::{Layout, NavSection};
use crate::web::problem::Problem;

#[derive(Template)]
#[template(path = "portal/docs/api.html")]
struct ReferencePage {
    layout: Layout,
    calls: Vec<Call>,
    schemas: Vec<Schema>,
}

struct Call {
    id: String,
    method: String,
    path: String,
    summary: String,
    needs: String,
    fields: Vec<Field>,
    answers: Vec<(String, String)>,
}

/// A parameter or a member of a body.
struct Field {
    name: String,
    place: String,
    kind: String,
    required: bool,
    meaning: String,
}

/// A schema of responses.
struct Schema {
    name: String,
    fields: Vec<Field>,
}

/// `GET /docs/api`.
pub async fn show(visit: GuestVisit, document: SharedDocument) -> Result<HttpResponse, Problem> {
    let layout = visit.layout(NavSection::Docs);
    let schemas = ["ApiKey", "VerifyAnswer", "InferenceAnswer", "Usage", "UsageLine", "Problem"];
    let schemas = schemas.map(|name| {
        let schema = &document.json["components"]["schemas"][name];
        Schema { name: name.to_owned(), fields: members(&document.json, schema, "") }
    });
    visit.page(&ReferencePage { layout, calls: calls(&document), schemas: schemas.into() })
}

fn calls(document: &Document) -> Vec<Call> {
    let calls = document.calls.iter().map(|call| {
        let path = call.path();
        let operation = &document.json["paths"][&path][call.method().name().to_lowercase()];
        let mut fields: Vec<Field> = list(&operation["parameters"])
            .iter()
            .map(|parameter| Field {
                name: text(&parameter["name"]),
                place: text(&parameter["in"]),
                kind: kind(&parameter["schema"]),
                required: parameter["required"] == true,
                meaning: text(&parameter["description"]),
            })
            .collect();
        for content in
            operation["requestBody"]["content"].as_object().into_iter().flat_map(|content| content.values())
        {
            fields.extend(members(&document.json, &content["schema"], "body"));
        }
        let responses = operation["responses"].as_object().into_iter().flatten();
        Call {
            id: text(&operation["operationId"]),
            method: call.endpoint.method.to_string(),
            path,
            summary: call.operation.summary.to_owned(),
            needs: text(&operation["description"]).replace('`', ""),
            fields,
            answers: responses
                .map(|(status, response)| {
                    let response = resolved(&document.json, response);
                    (status.clone(), text(&response["description"]).replace('`', ""))
                })
                .collect(),
        }
    });
    calls.collect()
}

/// The part of the document that a reference names, or the value itself.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let pointer = value["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
    pointer.and_then(|pointer| document.pointer(pointer)).unwrap_or(value)
}

/// The members of an object, including those of `allOf`.
fn members(document: &Value, schema: &Value, place: &str) -> Vec<Field> {
    let schema = resolved(document, schema);
    let required = list(&schema["required"]);
    let own = schema["properties"].as_object().into_iter().flatten().map(|(name, member)| Field {
        name: name.clone(),
        place: place.to_owned(),
        kind: kind(member),
        required: required.iter().any(|other| other == name),
        meaning: text(&member["description"]),
    });
    let parts = list(&schema["allOf"]).iter().flat_map(|part| members(document, part, place));
    own.chain(parts).collect()
}

/// A type as text: `string or null`, `list of string`, `ApiKey`.
fn kind(schema: &Value) -> String {
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().map(text).collect::<Vec<_>>().join(" | ");
    }
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return name.to_owned();
    }
    let either = list(&schema["oneOf"]);
    if !either.is_empty() {
        return either.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    let names: Vec<String> = match &schema["type"] {
        Value::Array(names) => names.iter().map(text).collect(),
        name => vec![text(name)],
    };
    let named = |name: &String| {
        if name == "array" { format!("list of {}", kind(&schema["items"])) } else { name.clone() }
    };
    names.iter().map(named).collect::<Vec<_>>().join(" or ")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
