//! `/openapi.json` against what the server answers.

use panseo::protocol::ids::Role;
use serde_json::Value as Json;

use crate::support::node::{Answer, Node, answer, token};

/// Whether the answer is a problem document, and described for this route.
#[track_caller]
fn assert_described(api: &Json, method: &str, route: &str, answer: &Answer, status: u16) {
    let (found, _code) = answer.problem();
    assert_eq!(found, status, "{method} {route}: {answer:?}");
    let described = &api["paths"][route][method.to_lowercase()]["responses"][status.to_string()];
    let schema = &described["content"]["application/problem+json"]["schema"]["$ref"];
    assert_eq!(schema, "#/components/schemas/Problem", "{method} {route}: {status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_is_described_as_it_is_sent() {
    let node = Node::with_tokens().await;
    let api = node.get("/openapi.json").await.json();
    assert!(api["components"]["schemas"]["Problem"].is_object());
    for (route, operations) in api["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            for (status, response) in operation["responses"].as_object().unwrap() {
                if status.starts_with(['4', '5']) {
                    let kinds: Vec<_> = response["content"].as_object().unwrap().keys().collect();
                    assert_eq!(kinds, ["application/problem+json"], "{method} {route} {status}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_class_of_answer_is_described() {
    let node = Node::with_tokens().await;
    let api = node.get("/openapi.json").await.json();
    let kim = token("kim", None);
    let narrow = token("mina", Some(&[("other", Role::Viewer)]));
    let json = "application/json";
    let ask = async |method: &str, path: &str, token: &str, kind: &str, body: &str| {
        let mut request = node
            .ask(method, path)
            .header("content-type", kind)
            .body(body.to_owned());
        if !token.is_empty() {
            request = request.bearer_auth(token);
        }
        answer(request).await
    };
    let made = ask("POST", "/v1/boards", &kim, json, r#"{"id":"lesson"}"#).await;
    assert_eq!(made.status, 201);
    let large = format!("{{\"title\":\"{}\"}}", "x".repeat(1_100_000));
    let (boards, board) = ("/v1/boards", "/v1/boards/{id}");
    for (method, route, path, token, kind, body, status) in [
        ("GET", boards, boards, "", json, "", 400),
        ("GET", boards, boards, "nonsense", json, "", 401),
        ("GET", boards, "/v1/boards?limit=0", &kim, json, "", 400),
        ("GET", "/v1/recent", "/v1/recent", "", json, "", 400),
        ("GET", board, "/v1/boards/a%20b", &kim, json, "", 400),
        ("GET", board, "/v1/boards/none", &kim, json, "", 404),
        ("GET", board, "/v1/boards/lesson", &narrow, json, "", 403),
        ("DELETE", board, "/v1/boards/lesson", "nonsense", json, "", 401),
        ("PATCH", board, "/v1/boards/lesson", &kim, "text/plain", "x", 415),
        ("POST", boards, boards, &kim, "text/plain", "x", 415),
        ("POST", boards, boards, &kim, json, "[]", 400),
        ("POST", boards, boards, &kim, json, r#"["id","T","own"]"#, 400),
        ("POST", boards, boards, &kim, json, &large, 413),
        ("POST", boards, boards, &kim, json, r#"{"id":"lesson"}"#, 409),
        ("POST", boards, boards, &narrow, json, "{}", 403),
        ("POST", "/v1/import", "/v1/import", &kim, json, "{}", 400),
        (
            "POST",
            "/v1/tokens/revoke",
            "/v1/tokens/revoke",
            "nonsense",
            json,
            "",
            401,
        ),
    ] {
        let refused = ask(method, path, token, kind, body).await;
        assert_described(&api, method, route, &refused, status);
    }
    let foreign = answer(node.ask("GET", "/health/live").header("origin", "https://evil.example")).await;
    assert_described(&api, "GET", "/health/live", &foreign, 403);
    let mut last = ask("GET", "/v1/recent", "nonsense", json, "").await;
    for _ in 0..20 {
        if last.status == 429 {
            break;
        }
        last = ask("GET", "/v1/recent", "nonsense", json, "").await;
    }
    assert_described(&api, "GET", "/v1/recent", &last, 429);
    for route in ["/v1/import", "/v1/boards/{id}/import"] {
        assert!(
            api["paths"][route]["post"]["responses"]["409"].is_object(),
            "{route}: a full board"
        );
    }
}
