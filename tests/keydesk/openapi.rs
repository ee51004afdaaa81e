//! The OpenAPI document as generators of clients and linters need it.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::desk;

#[test]
fn document_describes_each_operation_once_and_shares_what_they_have_in_common() {
    let (_desk, server, _org) = desk();
    let answer = server.api("").get("/v1/openapi.json");
    assert!(answer.body.len() < 100_000, "{} bytes", answer.body.len());
    let document = answer.json();
    let text = document.to_string();
    for reference in text.split("\"#/").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(document.pointer(&format!("/{reference}")).is_some(), "{reference}");
    }
    let tags: BTreeSet<&str> =
        document["tags"].as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap()).collect();
    let (mut names, mut used) = (BTreeSet::new(), BTreeSet::new());
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            assert!(["get", "post", "patch", "delete"].contains(&method.as_str()), "{method} {path}");
            assert!(names.insert(operation["operationId"].as_str().unwrap()), "{method} {path}");
            let tag = operation["tags"][0].as_str().unwrap();
            used.insert(tag);
            for (status, response) in operation["responses"].as_object().unwrap() {
                let is_error = status.as_str() >= "400";
                assert_eq!(is_error, response["$ref"].is_string(), "{method} {path} {status}");
            }
            let security = operation.get("security");
            match path.as_str() {
                "/v1/openapi.json" => assert_eq!(security, Some(&Value::Array(Vec::new()))),
                "/v1/introspect" => assert_eq!(security.unwrap().as_array().unwrap().len(), 2),
                _ => assert_eq!(security, None, "{method} {path}"),
            }
        }
    }
    assert_eq!(document["security"][0]["key"], Value::Array(Vec::new()));
    assert_eq!(used, tags);
    assert!(names.len() >= 26, "{} operations", names.len());
}
