//! What the routes have in common in `/openapi.json`: each tells its own answers, here come those that any of them gives,
//! and the media type of all that went wrong.

use utoipa::openapi::path::Operation;
use utoipa::openapi::request_body::RequestBody;
use utoipa::openapi::response::Response;
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr, Required, ResponseBuilder};

const FOREIGN: (&str, &str) = ("403", "No right to do it, or the page is of another origin");
/// Of all that people and programs ask for.
const SHARED: [(&str, &str); 5] = [
    ("400", "The request is malformed, or has no token"),
    ("401", "The token is not accepted"),
    (
        "429",
        "Too many requests, or too many failed log-ins: see `Retry-After`",
    ),
    ("500", "A fault of the server"),
    ("503", "Not now: see `Retry-After`"),
];
/// Of those with a body.
const OF_BODIES: [(&str, &str); 2] = [("408", "The body took too long"), ("413", "The body is too large")];
const UNSUPPORTED: (&str, &str) = ("415", "The body is of a kind that is not taken");

/// Adds to each route what it does not say itself.
pub(super) fn complete(api: &mut OpenApi) {
    for (path, item) in &mut api.paths.paths {
        let methods = [
            &mut item.get,
            &mut item.put,
            &mut item.post,
            &mut item.patch,
            &mut item.delete,
        ];
        for operation in methods.into_iter().flatten() {
            add_shared(operation, path.starts_with("/v1/"));
            for (status, response) in &mut operation.responses.responses {
                if let RefOr::T(response) = response
                    && matches!(status.as_bytes().first(), Some(b'4' | b'5'))
                {
                    response.content = problem("").content;
                }
            }
        }
    }
}

fn add_shared(operation: &mut Operation, is_for_callers: bool) {
    let mut shared = vec![FOREIGN];
    if is_for_callers {
        shared.extend(SHARED);
    }
    if let Some(RefOr::T(body)) = &operation.request_body {
        shared.extend(OF_BODIES);
        if is_json(body) {
            shared.push(UNSUPPORTED);
        }
    }
    for (status, description) in shared {
        let responses = &mut operation.responses.responses;
        responses
            .entry(status.to_owned())
            .or_insert_with(|| RefOr::T(problem(description)));
    }
}

/// A body that must be there is read by its media type.
fn is_json(body: &RequestBody) -> bool {
    matches!(body.required, Some(Required::True)) && body.content.contains_key("application/json")
}

fn problem(description: &str) -> Response {
    let document = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem")));
    ResponseBuilder::new()
        .description(description)
        .content("application/problem+json", document.build())
        .build()
}
