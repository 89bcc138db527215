//! Who may do what: the table of roles, the classes of tokens, and what each door answers.

use std::collections::BTreeMap;

use panseo::access::{Grants, may_create, role_on_board, sees_all};
use panseo::http::token::{KeyError, TokenClaims, TokenError, Verifier, mint};
use panseo::protocol::ids::{BoardId, Role, Timestamp, UserId};
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::node::{Node, SECRET, answer, token};

const NOW: u64 = 1_800_000_000;

fn listed(grants: &[(&str, Role)]) -> Grants {
    Grants::Listed(
        grants
            .iter()
            .map(|(board, role)| ((*board).to_owned(), *role))
            .collect(),
    )
}

//
#[test]
fn the_members_list_wins_then_the_board_then_the_star() {
    use Role::{Editor, Teacher, Viewer};
    let board = BoardId::new("lesson").unwrap();
    for (member, grants, role) in [
        (None, Grants::Open, Some(Teacher)),
        (Some(Viewer), Grants::Open, Some(Viewer)),
        (None, Grants::Members, None),
        (Some(Editor), Grants::Members, Some(Editor)),
        (None, listed(&[]), None),
        (None, listed(&[("other", Teacher)]), None),
        (None, listed(&[("lesson", Editor)]), Some(Editor)),
        (None, listed(&[("*", Viewer)]), Some(Viewer)),
        (None, listed(&[("*", Teacher), ("lesson", Viewer)]), Some(Viewer)),
        (Some(Viewer), listed(&[("lesson", Teacher)]), Some(Viewer)),
        (Some(Teacher), listed(&[("*", Viewer)]), Some(Teacher)),
    ] {
        assert_eq!(role_on_board(member, &grants, &board), role, "{member:?} {grants:?}");
    }
    for (grants, creates, all) in [
        (Grants::Open, true, true),
        (Grants::Members, true, false),
        (listed(&[("lesson", Teacher)]), false, false),
        (listed(&[("*", Editor)]), false, true),
        (listed(&[("*", Teacher)]), true, true),
    ] {
        assert_eq!((may_create(&grants), sees_all(&grants)), (creates, all), "{grants:?}");
    }
}

fn signed(claims: &Json) -> String {
    let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&header, claims, &key).unwrap()
}

/// Good claims, with these put over them; null takes one away.
fn claims(changes: &Json) -> Json {
    let mut claims = json!({ "sub": "alice", "exp": NOW + 3600, "iss": "school", "aud": ["panseo", "other"] });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    claims
}

#[test]
fn each_class_of_bad_token_is_refused() {
    use TokenError::{Audience, Claims, Expired, Issuer, NotYet, TooLong};
    let verifier = Verifier::new(SECRET, Some("school".into()), Some("panseo".into())).unwrap();
    let verify = |changes: Json| verifier.verify(&signed(&claims(&changes)), Timestamp(NOW * 1000)).err();
    for (changes, error) in [
        (json!({}), None),
        (
            json!({ "name": "김 선생님", "nbf": NOW, "boards": { "*": "teacher" } }),
            None,
        ),
        (json!({ "exp": NOW - 20 }), None),
        (json!({ "nbf": NOW + 20 }), None),
        (json!({ "exp": NOW - 31 }), Some(Expired)),
        (json!({ "nbf": NOW + 31 }), Some(NotYet)),
        (json!({ "exp": NOW + 12 * 3600 + 31 }), Some(TooLong)),
        (json!({ "iss": "elsewhere" }), Some(Issuer)),
        (json!({ "iss": null }), Some(Issuer)),
        (json!({ "aud": "elsewhere" }), Some(Audience)),
        (json!({ "aud": null }), Some(Audience)),
        (json!({ "exp": null }), Some(Claims)),
        (json!({ "exp": "tomorrow" }), Some(Claims)),
        (json!({ "exp": -1 }), Some(Claims)),
        (json!({ "sub": null }), Some(Claims)),
        (json!({ "sub": 7 }), Some(Claims)),
        (json!({ "sub": "" }), Some(Claims)),
        (json!({ "jti": 7 }), Some(Claims)),
        (json!({ "jti": "x".repeat(129) }), Some(Claims)),
        (json!({ "admin": "yes" }), Some(Claims)),
        (json!({ "name": ["a"] }), Some(Claims)),
        (json!({ "boards": ["lesson"] }), Some(Claims)),
        (json!({ "boards": { "lesson": "king" } }), Some(Claims)),
        (json!({ "boards": { "no such/board": "editor" } }), Some(Claims)),
    ] {
        assert_eq!(verify(changes.clone()), error, "{changes}");
    }
}

#[test]
fn the_key_fixes_the_algorithm() {
    let verifier = Verifier::new(SECRET, None, None).unwrap();
    let claims = json!({ "sub": "alice", "exp": NOW + 60 });
    let now = Timestamp(NOW * 1000);
    for algorithm in [jsonwebtoken::Algorithm::HS384, jsonwebtoken::Algorithm::HS512] {
        let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
        let token = jsonwebtoken::encode(&jsonwebtoken::Header::new(algorithm), &claims, &key).unwrap();
        assert_eq!(verifier.verify(&token, now), Err(TokenError::Signature));
    }
    // {"alg":"none"} and the same claims, unsigned.
    let body = signed(&claims).split('.').nth(1).unwrap().to_owned();
    let unsigned = format!("eyJhbGciOiJub25lIn0.{body}.");
    for bad in [unsigned.as_str(), "", "a.b.c", "....", "ey\u{fffd}"] {
        assert_eq!(verifier.verify(bad, now), Err(TokenError::Signature), "{bad}");
    }
    assert!(Verifier::new("too short", None, None).is_err());
}

/// Keys of this test and of nothing else: private and public half.
const EC_P256: [&str; 2] = [
    "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgSMnTTqYtgeEP083V\nSVIVGDCC4elvFdaOkNGC6kce7MehRANCAAQ1/uWmHuEx+WTW4d2z/9Cei34J7aSn\n/ophwBnkkERiVvsqhWmQ1zK/nK0q8z55QQBqEWOGV2E1zthjFi1ARyCm\n-----END PRIVATE KEY-----\n",
    "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAENf7lph7hMflk1uHds//Qnot+Ce2k\np/6KYcAZ5JBEYlb7KoVpkNcyv5ytKvM+eUEAahFjhldhNc7YYxYtQEcgpg==\n-----END PUBLIC KEY-----\n",
];
const ED25519: [&str; 2] = [
    "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIFhclSshw3Rma81iQLd9MXp0w4isj0n6/nutJ6ZptSRh\n-----END PRIVATE KEY-----\n",
    "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAjtMsDUxDHzLTf4QPH35/iCv3XDMvbD+SRxMm9aMKuG0=\n-----END PUBLIC KEY-----\n",
];
const EC_P384: &str = "-----BEGIN PUBLIC KEY-----\nMHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEgm42XwcNQfvgvusvSxuMTyReCIH8nAYA\nio+qbUpv3nmoik/zyDFSf7YNq8H6g/LhGOpNI6zkitrLU7mfbShBDlpCxZr2Vvq5\n/5I+mEhl7E206Avd6glJhUnUbxR441+T\n-----END PUBLIC KEY-----\n";

fn of_alice() -> TokenClaims {
    TokenClaims {
        sub: UserId::new("alice").unwrap(),
        iat: NOW,
        exp: NOW + 12 * 3600,
        name: Some("Alice".into()),
        boards: Some(BTreeMap::from([("lesson".to_owned(), Role::Editor)])),
        jti: None,
        admin: false,
        iss: None,
        aud: None,
    }
}

#[test]
fn what_is_minted_is_accepted() {
    for [private, public] in [[SECRET, SECRET], EC_P256, ED25519] {
        let verifier = Verifier::new(public, None, None).unwrap();
        let token = mint(private, &of_alice()).unwrap();
        let caller = verifier.verify(&token, Timestamp(NOW * 1000)).unwrap();
        assert_eq!(caller.identity.name.as_deref(), Some("Alice"));
        assert_eq!(caller.grants, listed(&[("lesson", Role::Editor)]));
    }
}

#[test]
fn a_key_is_taken_for_what_it_is() {
    let now = Timestamp(NOW * 1000);
    for [_private, public] in [EC_P256, ED25519] {
        let verifier = Verifier::new(public, None, None).unwrap();
        // Whoever knows the public half must not use it as a secret.
        let key = jsonwebtoken::EncodingKey::from_secret(public.as_bytes());
        let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
        let forged = jsonwebtoken::encode(&header, &of_alice(), &key).unwrap();
        assert_eq!(verifier.verify(&forged, now), Err(TokenError::Signature));
        for [private, _public] in [EC_P256, ED25519].iter().filter(|[_, other]| *other != public) {
            let other = mint(private, &of_alice()).unwrap();
            assert_eq!(verifier.verify(&other, now), Err(TokenError::Signature));
        }
        assert_eq!(mint(public, &of_alice()), Err(KeyError::Pem("private PKCS#8")));
    }
    for bad in [
        EC_P256[0],
        ED25519[0],
        EC_P384,
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
    ] {
        assert_eq!(
            Verifier::new(bad, None, None).unwrap_err(),
            KeyError::Pem("public"),
            "{bad}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn absent_bad_weak_and_lost_have_each_their_answer() {
    let node = Node::with_tokens().await;
    let alice = token("alice", None);
    let ask = |method: &'static str, path: &'static str, token: &str| answer(node.ask(method, path).bearer_auth(token));
    let made = answer(
        node.ask("POST", "/v1/boards")
            .bearer_auth(&alice)
            .json(&json!({ "id": "lesson" })),
    )
    .await;
    assert_eq!(made.status, 201);

    assert_eq!(
        node.get("/v1/boards/lesson").await.problem(),
        (400, "token_missing".into())
    );
    let bad = ask("GET", "/v1/boards/lesson", "nonsense").await;
    assert_eq!(
        (bad.problem(), bad.header("www-authenticate")),
        ((401, "bad_token".into()), "Bearer")
    );
    assert_eq!(
        ask("GET", "/v1/boards/lesson", &token("bob", None)).await.problem().0,
        403
    );
    assert_eq!(ask("GET", "/v1/boards/none", &alice).await.problem().0, 404);
    assert_eq!(node.get(&format!("/v1/boards/lesson?token={alice}")).await.status, 200);

    let narrow = token("carol", Some(&[("lesson", Role::Teacher)]));
    assert_eq!(
        ask(
            "DELETE",
            "/v1/boards/lesson",
            &token("dan", Some(&[("*", Role::Editor)]))
        )
        .await
        .status,
        403
    );
    let refused = answer(node.ask("POST", "/v1/boards").bearer_auth(&narrow).json(&json!({}))).await;
    assert_eq!(refused.problem().0, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_gets_what_the_teacher_gave() {
    let node = Node::with_tokens().await;
    let (alice, bob) = (token("alice", None), token("bob", None));
    let send = |method: &'static str, path: &'static str, token: &str, body: Json| {
        answer(node.ask(method, path).bearer_auth(token).json(&body))
    };
    send("POST", "/v1/boards", &alice, json!({ "id": "lesson" })).await;
    let draw = json!({ "ops": [crate::support::node::create("a")] });
    let ops = "/v1/boards/lesson/ops";
    let bob_is = "/v1/boards/lesson/members/bob";
    assert_eq!(
        send("PUT", bob_is, &bob, json!({ "role": "teacher" })).await.status,
        403
    );
    assert_eq!(
        send("PUT", bob_is, &alice, json!({ "role": "viewer" })).await.status,
        200
    );
    assert_eq!(send("POST", ops, &bob, draw.clone()).await.problem().0, 403);
    assert_eq!(
        send("PUT", bob_is, &alice, json!({ "role": "editor" })).await.status,
        200
    );
    assert_eq!(send("POST", ops, &bob, draw.clone()).await.status, 200);
    assert_eq!(
        send("PUT", bob_is, &alice, json!({ "role": "king" })).await.problem().0,
        400
    );
    assert_eq!(send("DELETE", bob_is, &alice, Json::Null).await.status, 204);
    assert_eq!(send("POST", ops, &bob, draw).await.status, 403);

    let last = send("DELETE", "/v1/boards/lesson/members/alice", &alice, Json::Null).await;
    assert_eq!(last.problem(), (409, "last_teacher".into()));
    let members = answer(node.ask("GET", "/v1/boards/lesson/members").bearer_auth(&alice)).await;
    assert_eq!(members.json(), json!([{ "user": "alice", "role": "teacher" }]));
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_pages_are_refused_and_listed_ones_may_read() {
    let node = Node::with_tokens().await;
    let from = |origin: &str| node.ask("GET", "/health/live").header("origin", origin);
    assert_eq!(
        answer(from("https://evil.example")).await.problem(),
        (403, "bad_origin".into())
    );
    assert_eq!(answer(from("null")).await.status, 403);
    assert_eq!(answer(from("http://localhost:3000")).await.status, 403);
    assert_eq!(answer(from(&format!("http://{}", node.authority()))).await.status, 200);
    let listed = answer(from("https://school.example")).await;
    assert_eq!(listed.header("access-control-allow-origin"), "https://school.example");
    let preflight = node
        .ask("OPTIONS", "/v1/boards")
        .header("origin", "https://school.example");
    let preflight = answer(preflight.header("access-control-request-method", "DELETE")).await;
    assert_eq!(preflight.status, 204);
    assert!(preflight.header("access-control-allow-methods").contains("DELETE"));
}

//
#[tokio::test(flavor = "multi_thread")]
async fn an_open_node_answers_to_names_of_this_machine_only() {
    let node = Node::open().await;
    let rebound = node.ask("GET", "/v1/boards").header("host", "evil.example");
    assert_eq!(answer(rebound).await.problem().0, 403);
    let local = node.ask("GET", "/v1/boards").header("origin", "http://localhost:5173");
    assert_eq!(answer(local).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_keeps_failing_must_wait() {
    let node = Node::with_tokens().await;
    let try_in = || answer(node.ask("GET", "/v1/boards").bearer_auth("nonsense"));
    for _ in 0..20 {
        assert_eq!(try_in().await.status, 401);
    }
    let refused = try_in().await;
    assert_eq!(refused.problem().0, 429);
    assert!((1..=60).contains(&refused.header("retry-after").parse().unwrap()));
}

/// Reads from the server until this comes.
async fn hear(stream: &mut TcpStream, end: &str) -> String {
    let mut said = String::new();
    while !said.ends_with(end) {
        let byte = stream.read_u8().await.expect("the server goes on");
        said.push(char::from(byte));
    }
    said
}

//
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_revoked_while_the_body_comes_does_nothing() {
    let node = Node::with_tokens().await;
    let (kim, eve) = (token("kim", None), token("eve", Some(&[("*", Role::Teacher)])));
    let send = |token: &str, method, path: &'static str, body: Json| {
        answer(node.ask(method, path).bearer_auth(token).json(&body))
    };
    let lesson = json!({ "id": "lesson", "title": "Maths" });
    assert_eq!(send(&kim, "POST", "/v1/boards", lesson).await.status, 201);
    let mut under_way = Vec::new();
    for (method, path, body) in [
        ("POST", "/v1/boards", json!({ "id": "other" })),
        ("POST", "/v1/import", json!({ "type": "excalidraw", "elements": [] })),
        ("PATCH", "/v1/boards/lesson", json!({ "title": "None" })),
        ("POST", "/v1/boards/lesson/invites", json!({ "role": "editor" })),
        ("POST", "/v1/tokens/revoke", json!({ "user": "kim" })),
    ] {
        let body = body.to_string();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {kim}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\nexpect: 100-continue\r\n\r\n",
            body.len()
        );
        let mut stream = TcpStream::connect(node.authority()).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        // Asked for when the handler has let the caller in and reads.
        assert!(hear(&mut stream, "\r\n\r\n").await.contains(" 100 "), "{path}");
        under_way.push((path, stream, body));
    }
    let revoked = send(&kim, "POST", "/v1/tokens/revoke", json!({ "user": "kim" })).await;
    assert_eq!(revoked.status, 204);
    for (path, mut stream, body) in under_way {
        stream.write_all(body.as_bytes()).await.unwrap();
        let answer = hear(&mut stream, "\r\n\r\n").await;
        assert!(answer.contains(" 401 "), "{path}: {answer}");
    }
    let boards = answer(node.ask("GET", "/v1/boards").bearer_auth(&eve)).await.json();
    let titles: Vec<_> = boards["boards"]
        .as_array()
        .unwrap()
        .iter()
        .map(|board| &board["title"])
        .collect();
    assert_eq!(titles, ["Maths"]);
    let invites = answer(node.ask("GET", "/v1/boards/lesson/invites").bearer_auth(&eve)).await;
    assert_eq!(invites.json(), json!([]));
}
