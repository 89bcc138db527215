//! Ways onto a board: invites, the boards somebody was on, and the pages themselves.

use panseo::protocol::ids::Role;
use serde_json::{Value as Json, json};

use crate::support::node::{Answer, Node, answer, token};

struct As<'a>(&'a Node, String);

impl As<'_> {
    async fn send(&self, method: &str, path: &str, body: Json) -> Answer {
        answer(self.0.ask(method, path).bearer_auth(&self.1).json(&body)).await
    }

    async fn get(&self, path: &str) -> Answer {
        answer(self.0.ask("GET", path).bearer_auth(&self.1)).await
    }

    async fn put(&self, path: &str) -> Answer {
        answer(self.0.ask("PUT", path).bearer_auth(&self.1)).await
    }
}

async fn lesson(node: &Node) -> As<'_> {
    let teacher = As(node, token("kim", None));
    assert_eq!(
        teacher
            .send("POST", "/v1/boards", json!({ "id": "lesson" }))
            .await
            .status,
        201
    );
    teacher
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_makes_a_member_and_never_lowers_one() {
    let node = Node::with_tokens().await;
    let teacher = lesson(&node).await;
    let made = teacher
        .send("POST", "/v1/boards/lesson/invites", json!({ "role": "viewer" }))
        .await;
    assert_eq!(made.status, 201, "{made:?}");
    let code = made.json()["code"].as_str().unwrap().to_owned();

    let student = As(&node, token("mina", None));
    assert_eq!(
        student.get("/v1/boards/lesson").await.problem(),
        (403, "forbidden".into())
    );
    // As people type it.
    let typed = format!("{}-{}", code[..4].to_uppercase(), &code[4..]);
    let join = format!("/v1/invites/{typed}/join");
    let joined = student.send("POST", &join, json!({})).await.json();
    assert_eq!(joined, json!({ "board": "lesson", "role": "viewer" }));
    assert_eq!(student.get("/v1/boards/lesson").await.json()["role"], "viewer");

    let own = teacher.send("POST", &join, json!({})).await.json();
    assert_eq!(own["role"], "teacher", "the teacher tried the link");
    teacher
        .send("PUT", "/v1/boards/lesson/members/mina", json!({ "role": "editor" }))
        .await;
    assert_eq!(student.send("POST", &join, json!({})).await.json()["role"], "editor");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invite_that_ended_leads_nowhere() {
    let node = Node::with_tokens().await;
    let teacher = lesson(&node).await;
    let made = teacher
        .send(
            "POST",
            "/v1/boards/lesson/invites",
            json!({ "role": "editor", "days": 1 }),
        )
        .await;
    let code = made.json()["code"].as_str().unwrap().to_owned();
    let listed = teacher.get("/v1/boards/lesson/invites").await.json();
    assert_eq!(listed, json!([made.json()]));

    let address = format!("/v1/boards/lesson/invites/{code}");
    let student = As(&node, token("mina", Some(&[("lesson", Role::Editor)])));
    assert_eq!(student.send("DELETE", &address, json!({})).await.status, 403);
    assert_eq!(teacher.send("DELETE", &address, json!({})).await.status, 204);
    assert_eq!(
        teacher.send("DELETE", &address, json!({})).await.problem(),
        (404, "not_found".into())
    );
    let join = student
        .send("POST", &format!("/v1/invites/{code}/join"), json!({}))
        .await;
    assert_eq!(join.problem(), (404, "not_found".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_invite_may_not_be() {
    let node = Node::with_tokens().await;
    let teacher = lesson(&node).await;
    for body in [
        json!({ "role": "teacher" }),
        json!({ "role": "viewer", "days": 0 }),
        json!({ "role": "king" }),
    ] {
        let refused = teacher.send("POST", "/v1/boards/lesson/invites", body).await;
        assert_eq!(refused.status, 400, "{refused:?}");
    }
    for _ in 0..20 {
        let made = teacher
            .send("POST", "/v1/boards/lesson/invites", json!({ "role": "viewer" }))
            .await;
        assert_eq!(made.status, 201);
    }
    let refused = teacher
        .send("POST", "/v1/boards/lesson/invites", json!({ "role": "viewer" }))
        .await;
    assert_eq!(refused.problem(), (409, "too_many_invites".into()));
}

// [R-111]
#[tokio::test(flavor = "multi_thread")]
async fn many_invites_at_once_are_not_more_than_a_board_may_have() {
    let node = Node::with_tokens().await;
    let teacher = lesson(&node).await;
    let invite = || teacher.send("POST", "/v1/boards/lesson/invites", json!({ "role": "viewer" }));
    let answers = futures_util::future::join_all((0..40).map(|_| invite())).await;
    let made = answers.iter().filter(|answer| answer.status == 201).count();
    let refused = answers.iter().filter(|answer| answer.status == 409).count();
    assert_eq!((made, refused), (20, 20));
    let listed = teacher.get("/v1/boards/lesson/invites").await.json();
    assert_eq!(listed.as_array().unwrap().len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_cannot_be_guessed_without_end() {
    let node = Node::with_tokens().await;
    let guesser = As(&node, token("eve", None));
    for _ in 0..20 {
        assert_eq!(
            guesser
                .send("POST", "/v1/invites/aaaa2222/join", json!({}))
                .await
                .status,
            404
        );
    }
    let refused = guesser.send("POST", "/v1/invites/aaaa2222/join", json!({})).await;
    assert_eq!(refused.problem(), (429, "too_many_requests".into()));
    assert!(!refused.header("retry-after").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn recent_boards_are_ones_own_and_newest_first() {
    let node = Node::with_tokens().await;
    let teacher = lesson(&node).await;
    teacher.send("POST", "/v1/boards", json!({ "id": "maths" })).await;
    for board in ["maths", "lesson"] {
        assert_eq!(teacher.put(&format!("/v1/recent/{board}")).await.status, 204);
    }
    let recent = teacher.get("/v1/recent").await.json();
    let ids: Vec<_> = recent
        .as_array()
        .unwrap()
        .iter()
        .map(|board| board["id"].clone())
        .collect();
    assert_eq!(ids.len(), 2);
    assert!(ids.contains(&json!("lesson")) && ids.contains(&json!("maths")));

    let student = As(&node, token("mina", None));
    assert_eq!(student.get("/v1/recent").await.json(), json!([]));
    assert_eq!(student.put("/v1/recent/lesson").await.status, 403);
    teacher
        .send("PUT", "/v1/boards/lesson/members/mina", json!({ "role": "viewer" }))
        .await;
    assert_eq!(student.put("/v1/recent/lesson").await.status, 204);
    teacher
        .send("DELETE", "/v1/boards/lesson/members/mina", json!({}))
        .await;
    assert_eq!(
        student.get("/v1/recent").await.json(),
        json!([]),
        "who was removed learns nothing more"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_and_the_same_compressed_have_tags_of_their_own() {
    let node = Node::open().await;
    let front = String::from_utf8(node.get("/").await.bytes).unwrap();
    let Some((path, _)) = front
        .split_once("src=\"/assets/")
        .and_then(|(_, rest)| rest.split_once('"'))
    else {
        assert!(front.contains("make run"), "{front}");
        return;
    };
    let get = |headers: Vec<(&'static str, String)>| {
        let request = node.ask("GET", &format!("/assets/{path}"));
        let request = headers
            .into_iter()
            .fold(request, |request, (name, value)| request.header(name, value));
        answer(request)
    };
    let (plain, packed) = (
        get(vec![]).await,
        get(vec![("accept-encoding", "gzip, br".into())]).await,
    );
    assert_eq!(packed.header("content-encoding"), "br");
    assert!(packed.bytes.len() < plain.bytes.len() && !plain.bytes.is_empty());
    assert_ne!(plain.header("etag"), packed.header("etag"));
    let tag = packed.header("etag").to_owned();
    let known = get(vec![("accept-encoding", "br".into()), ("if-none-match", tag.clone())]).await;
    assert_eq!((known.status, known.header("vary")), (304, "accept-encoding"));
    let other = get(vec![("accept-encoding", "br;q=0".into()), ("if-none-match", tag)]).await;
    assert_eq!((other.status, other.bytes), (200, plain.bytes));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_bring_their_own_policy_and_nothing_else_is_a_page() {
    let node = Node::with_tokens().await;
    let is_built = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/web/dist/index.html")).is_file();
    for path in ["/", "/b/lesson"] {
        let page = node.get(path).await;
        assert_eq!(page.status, 200, "{path}");
        assert!(page.header("content-type").starts_with("text/html"), "{path}");
        if is_built {
            let policy = page.header("content-security-policy");
            assert!(
                policy.contains("default-src 'self'") && policy.ends_with("https://school.example"),
                "{policy}"
            );
            let again = answer(node.ask("GET", path).header("if-none-match", page.header("etag"))).await;
            assert_eq!(again.status, 304);
        } else {
            assert!(String::from_utf8_lossy(&page.bytes).contains("make run"));
        }
    }
    for path in [
        "/b",
        "/b/",
        "/b/x/y",
        "/nothing",
        "/b.html",
        "/assets/../index.html",
        "/%2e%2e/Cargo.toml",
    ] {
        assert_eq!(node.get(path).await.problem(), (404, "not_found".into()), "{path}");
    }
    assert_eq!(answer(node.ask("POST", "/nothing")).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_licences_of_what_the_pages_hold_come_with_them() {
    let node = Node::open().await;
    let notices = node.get("/third-party.txt").await;
    if !std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/web/dist/index.html")).is_file() {
        assert_eq!(notices.status, 404);
        return;
    }
    assert_eq!(notices.header("content-type"), "text/plain; charset=utf-8");
    let text = String::from_utf8(notices.bytes).unwrap();
    for named in [
        "Copyright (c) 2020 Excalidraw",
        "Font Excalifont",
        "SIL OPEN FONT LICENSE Version 1.1",
        "Kevin Jahns",
    ] {
        assert!(text.contains(named), "{named}");
    }
    assert_eq!(
        node.get("/fonts/Liberation/LiberationSans-Regular.woff2").await.status,
        404
    );
}
