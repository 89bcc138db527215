//! The REST door: what each route answers when all is well, and when it is not.

use std::io::Cursor;
use std::time::Duration;

use image::{DynamicImage, ImageFormat};
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::support::node::{Node, answer, create};

fn png() -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::new_rgb8(3, 2)
        .write_to(&mut bytes, ImageFormat::Png)
        .unwrap();
    bytes.into_inner()
}

fn sha256(bytes: &[u8]) -> String {
    let digits = |byte: &u8| format!("{byte:02x}");
    Sha256::digest(bytes).iter().map(digits).collect::<Vec<_>>().concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_board_lives_from_post_to_delete() {
    let node = Node::open().await;
    let made = node
        .send(
            "POST",
            "/v1/boards",
            json!({ "id": "lesson", "title": "수업", "edit": "own" }),
        )
        .await;
    assert_eq!((made.status, made.header("location")), (201, "/v1/boards/lesson"));
    let again = node.send("POST", "/v1/boards", json!({ "id": "lesson" })).await;
    assert_eq!(again.problem(), (409, "board_exists".into()));

    let found = node.get("/v1/boards/lesson").await.json();
    assert_eq!(
        (&found["title"], &found["edit"], &found["role"]),
        (&json!("수업"), &json!("own"), &json!("teacher"))
    );
    let changed = node
        .send("PATCH", "/v1/boards/lesson", json!({ "title": "Maths" }))
        .await;
    assert_eq!(changed.json()["title"], "Maths");
    assert_eq!(changed.json()["edit"], "own", "what is not named stays");

    assert_eq!(answer(node.ask("DELETE", "/v1/boards/lesson")).await.status, 204);
    assert_eq!(node.get("/v1/boards/lesson").await.problem(), (404, "not_found".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_changes_at_once_are_both_made() {
    let node = Node::open().await;
    node.send("POST", "/v1/boards", json!({ "id": "lesson" })).await;
    for (round, edit) in ["own", "all", "own", "all"].into_iter().enumerate() {
        let change = |body| node.send("PATCH", "/v1/boards/lesson", body);
        let title = format!("Lesson {round}");
        let (titled, scoped) = tokio::join!(change(json!({ "title": title })), change(json!({ "edit": edit })));
        assert_eq!((titled.status, scoped.status), (200, 200));
        let found = node.get("/v1/boards/lesson").await.json();
        assert_eq!((&found["title"], &found["edit"]), (&json!(title), &json!(edit)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_walked_by_its_cursor() {
    let node = Node::open().await;
    for id in ["c", "a", "e", "b", "d"] {
        node.send("POST", "/v1/boards", json!({ "id": id })).await;
    }
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = node.get(&format!("/v1/boards?limit=2{after}")).await.json();
        let ids = page["boards"]
            .as_array()
            .unwrap()
            .iter()
            .map(|board| board["id"].clone());
        seen.extend(ids);
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(Json::from(seen), json!(["a", "b", "c", "d", "e"]));
    assert_eq!(node.get("/v1/boards?limit=0").await.problem().0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn imports_that_change_nothing_are_answered_and_keep_no_place() {
    let node = Node::open().await;
    node.draw("/v1/boards/lesson/ops", "a").await;
    let empty = json!({ "type": "excalidraw", "elements": [] });
    // One more than a node takes at a time. [R-116]
    for number in 0..9 {
        let asked = node.send("POST", "/v1/boards/lesson/import", empty.clone());
        let answer = timeout(Duration::from_secs(20), asked).await.expect("it is answered");
        assert_eq!(
            (answer.status, &answer.json()["elements"]),
            (200, &json!(0)),
            "{number}"
        );
    }
    let image = png();
    let path = format!("/v1/boards/lesson/assets/{}", sha256(&image));
    assert_eq!(answer(node.ask("PUT", &path).body(image)).await.status, 200);
}

// [R-32], [R-110]
#[tokio::test(flavor = "multi_thread")]
async fn a_frame_without_effect_is_not_done_when_it_is_repeated() {
    let node = Node::open().await;
    node.draw("/v1/boards/lesson/ops", "a").await;
    let set = |x: u32| json!({ "op": "element.update", "target": "a", "set": { "x": x } });
    let frame = json!({ "client": uuid::Uuid::now_v7(), "seq": 1, "ops": [set(1)] });
    for ops in [frame.clone(), json!({ "ops": [set(50)] }), frame] {
        assert_eq!(node.send("POST", "/v1/boards/lesson/ops", ops).await.status, 200);
    }
    let state = node.get("/v1/boards/lesson/state").await.json();
    let entries = state["entries"].as_array().unwrap();
    let element = entries.iter().find(|entry| entry["id"] == "a").unwrap();
    assert_eq!(element["properties"]["x"], 50);
}

// [R-110]
#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_of_ops_counts_once() {
    let node = Node::open().await;
    let frame = json!({ "client": uuid::Uuid::now_v7(), "seq": 1, "ops": [create("a")] });
    let first = node.send("POST", "/v1/boards/lesson/ops", frame.clone()).await;
    assert_eq!(first.status, 200, "{first:?}");
    let second = node.send("POST", "/v1/boards/lesson/ops", frame).await;
    assert_eq!(second.status, 200);
    let state = node.get("/v1/boards/lesson/state").await.json();
    let elements = state["entries"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["kind"] == "element");
    assert_eq!(elements.count(), 1);

    let undo = node
        .send("POST", "/v1/boards/lesson/ops", json!({ "ops": [{ "op": "undo" }] }))
        .await;
    assert_eq!(undo.json()["undone"]["changed"], 1);
}

// [R-35]
#[tokio::test(flavor = "multi_thread")]
async fn bad_ops_change_nothing_and_say_why() {
    let node = Node::open().await;
    node.draw("/v1/boards/lesson/ops", "a").await;
    let deep = format!("{{\"ops\":{}{}}}", "[".repeat(5_000), "]".repeat(5_000));
    for (body, status) in [
        ("", 400),
        ("[]", 400),
        (r#"{"ops":[]}"#, 400),
        (r#"{"ops":[{"op":"nonsense"}]}"#, 400),
        (r#"{"seq":1,"ops":[{"op":"undo"}]}"#, 400),
        (
            r#"{"client":"0190163d-8694-739b-aea5-966c26f8ad91","seq":0,"ops":[{"op":"undo"}]}"#,
            400,
        ),
        (
            r#"{"ops":[{"op":"element.update","target":"nobody","set":{"x":1}}]}"#,
            404,
        ),
        (deep.as_str(), 400),
    ] {
        let request = node.ask("POST", "/v1/boards/lesson/ops");
        let refused = answer(request.header("content-type", "application/json").body(body.to_owned())).await;
        assert_eq!(refused.problem().0, status, "{}", &body[..body.len().min(80)]);
    }
    let text = answer(
        node.ask("POST", "/v1/boards/lesson/ops")
            .header("content-type", "text/plain")
            .body("x"),
    )
    .await;
    assert_eq!(text.problem(), (415, "unsupported".into()));
    let large = answer(node.ask("POST", "/v1/boards/lesson/ops").body(vec![b' '; 1_100_000])).await;
    assert_eq!(large.problem(), (413, "too_large".into()));
    let entries = node.get("/v1/boards/lesson/state").await.json()["entries"].clone();
    assert_eq!(entries.as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_judged_by_its_content() {
    let node = Node::open().await;
    node.draw("/v1/boards/lesson/ops", "a").await;
    let content = png();
    let path = format!("/v1/boards/lesson/assets/{}", sha256(&content));
    assert_eq!(node.get(&path).await.problem().0, 404);
    let kept = answer(
        node.ask("PUT", &path)
            .header("content-type", "text/html")
            .body(content.clone()),
    )
    .await;
    assert_eq!(
        (&kept.json()["mimeType"], &kept.json()["width"]),
        (&json!("image/png"), &json!(3))
    );

    let found = node.get(&path).await;
    assert_eq!(
        (found.bytes == content, found.header("content-type")),
        (true, "image/png")
    );
    assert_eq!(found.header("x-content-type-options"), "nosniff");
    assert!(found.header("cache-control").contains("immutable"));
    let known = answer(node.ask("GET", &path).header("if-none-match", found.header("etag"))).await;
    assert_eq!((known.status, known.bytes.len()), (304, 0));

    let other = format!("/v1/boards/lesson/assets/{}", "0".repeat(64));
    assert_eq!(
        answer(node.ask("PUT", &other).body(content)).await.problem().1,
        "hash_mismatch"
    );
    let page = b"<html><script>alert(1)</script></html>".to_vec();
    let page_path = format!("/v1/boards/lesson/assets/{}", sha256(&page));
    assert_eq!(answer(node.ask("PUT", &page_path).body(page)).await.problem().0, 415);
    assert_eq!(
        answer(node.ask("PUT", "/v1/boards/lesson/assets/..%2f.."))
            .await
            .problem()
            .0,
        400
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undone_import_is_not_exported_unless_asked_for() {
    let node = Node::open().await;
    let elements: Vec<Json> = (0..1_200)
        .map(|n| json!({ "id": format!("e{n}"), "type": "rectangle", "x": n, "y": 0, "width": 9, "height": 9 }))
        .collect();
    let file = json!({ "type": "excalidraw", "version": 2, "elements": elements });
    let made = node.send("POST", "/v1/import", file).await.json();
    assert_eq!(made["elements"], 1_200);
    let board = format!("/v1/boards/{}", made["board"].as_str().unwrap());
    let undo = json!({ "ops": [{ "op": "undo", "step": made["gesture"] }] });
    let undone = node.send("POST", &format!("{board}/ops"), undo).await;
    assert_eq!(undone.status, 200, "{undone:?}");
    let export = |query: &str| format!("{board}/export?format=excalidraw{query}");
    let count = |json: &Json| json["elements"].as_array().unwrap().len();
    assert_eq!(count(&node.get(&export("")).await.json()), 0);
    assert_eq!(count(&node.get(&export("&deleted=true")).await.json()), 1_200);
    let drawn = node.draw(&format!("{board}/ops"), "later").await;
    assert_eq!(drawn.status, 200, "{drawn:?}");
    assert_eq!(count(&node.get(&export("")).await.json()), 1, "the first page stays");
    let picture = node.get(&format!("{board}/export.svg")).await.bytes;
    assert!(String::from_utf8(picture).unwrap().contains("data-id=\"later\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn content_that_is_no_image_stays_in_the_file() {
    let node = Node::open().await;
    let data = "data:image/png;base64,bm8gaW1hZ2U=";
    let file = json!({
        "type": "excalidraw",
        "elements": [{ "id": "a", "type": "image", "x": 0, "y": 0, "width": 9, "height": 9, "fileId": "f" }],
        "files": { "f": { "id": "f", "mimeType": "image/png", "dataURL": data, "created": 1 } },
    });
    let made = node.send("POST", "/v1/import", file).await.json();
    assert_eq!(
        (&made["assets"], made["notes"].as_array().unwrap().len()),
        (&json!(1), 1)
    );
    let board = format!("/v1/boards/{}", made["board"].as_str().unwrap());
    let export = node.get(&format!("{board}/export?format=excalidraw")).await.json();
    assert_eq!(export["files"]["f"]["dataURL"], data);
    let asset = node.get(&format!("{board}/assets/{}", sha256(b"no image"))).await;
    assert_eq!(
        (asset.status, asset.header("content-type")),
        (200, "application/octet-stream")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_file_leaves_no_board_behind() {
    let node = Node::open().await;
    for file in ["", "{}", "not json", r#"{"type":"excalidraw","elements":[{"id":1}]}"#] {
        let refused = answer(node.ask("POST", "/v1/import").body(file)).await;
        assert_eq!(refused.problem().0, 400, "{file}");
    }
    assert_eq!(node.get("/v1/boards").await.json()["boards"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_board_takes_is_named_with_its_place_in_the_file() {
    let node = Node::open().await;
    let file = |text: &str, state: &str| {
        let element = json!({ "id": "poem", "type": "text", "x": 0, "y": 0, "text": text });
        json!({ "type": "excalidraw", "elements": [element], "appState": { "own": state } })
    };
    let long = "x".repeat(300_000);
    for (file, place) in [
        (file(&long, ""), r#"element "poem": `text` must be at most 256 KiB"#),
        (
            file("", &long),
            "what stands beside the elements: `extra` must be at most 256 KiB",
        ),
    ] {
        let refused = node.send("POST", "/v1/import", file).await;
        let (status, _code) = refused.problem();
        let detail = refused.json()["detail"].to_string().replace('\\', "");
        assert_eq!((status, detail.contains(place)), (400, true), "{detail}");
    }
    assert_eq!(node.get("/v1/boards").await.json()["boards"], json!([]));
    node.draw("/v1/boards/lesson/ops", "here").await;
    let added = node.send("POST", "/v1/boards/lesson/import", file("", &long)).await;
    assert_eq!(
        added.status, 200,
        "a board in use does not take what stands beside the elements"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_error_is_a_problem_document() {
    let node = Node::open().await;
    for (method, path, status) in [
        ("GET", "/nothing/here", 404),
        ("PUT", "/v1/boards", 405),
        ("GET", "/v1/boards/a%20b", 400),
        ("GET", "/v1/boards?limit=many", 400),
        ("GET", "/v1/boards/none/state", 404),
        ("GET", "/v1/boards/none/export?format=pdf", 400),
        ("GET", "/v1/boards?user=a%0Ab", 400),
    ] {
        let refused = answer(node.ask(method, path)).await;
        assert_eq!(refused.problem().0, status, "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_describes_itself() {
    let node = Node::open().await;
    let api = node.get("/openapi.json").await.json();
    for path in [
        "/v1/boards",
        "/v1/boards/{id}/ops",
        "/v1/import",
        "/v1/boards/{id}/assets/{sha256}",
    ] {
        assert!(api["paths"][path].is_object(), "{path} is not described");
    }
    assert!(
        String::from_utf8(node.get("/docs/").await.bytes)
            .unwrap()
            .contains("swagger")
    );
    let page = node.get("/docs/swagger-initializer.js").await.bytes;
    let page = String::from_utf8(page).unwrap().replace(' ', "");
    assert!(page.contains(r#""validatorUrl":"none""#), "it calls nobody: {page}");
    let front = String::from_utf8(node.get("/").await.bytes).unwrap();
    assert!(front.contains("판서"), "{front}");
    assert_eq!(node.get("/health/live").await.status, 200);
    assert_eq!(node.get("/health/ready").await.status, 200);
    assert!(
        String::from_utf8(node.get("/metrics").await.bytes)
            .unwrap()
            .contains("process_resident_memory_bytes")
    );
}

/// What the server says to these bytes until it closes the connection or has sent a whole head.
async fn raw(node: &Node, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(node.authority()).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut said = Vec::new();
    while !said.windows(4).any(|end| end == b"\r\n\r\n") {
        // A server that hangs up in the middle of a flood may reset what is under way.
        match stream.read_buf(&mut said).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
    }
    String::from_utf8_lossy(&said)
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_op_that_names_an_element_again_and_again_keeps_nobody_waiting() {
    let node = Node::open().await;
    node.draw("/v1/boards/lesson/ops", "a").await;
    let bound = vec![json!({ "id": "c" }); 20_000];
    let mut ops = Vec::new();
    for name in ["b", "c", "d", "e", "f"] {
        node.draw("/v1/boards/lesson/ops", name).await;
        ops.push(json!({ "op": "element.update", "target": name, "set": { "bindings": { "bound": bound } } }));
    }
    ops.push(json!({ "op": "element.delete", "targets": vec!["a"; 60_000] }));
    for op in ops {
        let begin = Instant::now();
        let answer = node.send("POST", "/v1/boards/lesson/ops", json!({ "ops": [op] })).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(
            begin.elapsed() < Duration::from_secs(4),
            "it took {:?}",
            begin.elapsed()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_of_a_socket_says_so() {
    let node = Node::open().await;
    for path in ["/v1/boards/lesson/ws", "/yjs/lesson"] {
        let answer = node.get(path).await;
        assert_eq!(answer.problem(), (426, "upgrade_required".to_owned()), "{path}");
        assert_eq!(answer.header("upgrade"), "websocket");
        assert_eq!(answer.header("sec-websocket-version"), "13");
    }
}

// [R-116]
#[tokio::test(flavor = "multi_thread")]
async fn whole_files_and_boards_wait_for_a_place() {
    let node = Node::open().await;
    node.send("POST", "/v1/boards", json!({ "id": "lesson" })).await;
    let head = format!(
        "PUT /v1/boards/lesson/assets/{} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 900\r\n\r\nbegin",
        "a".repeat(64)
    );
    let mut slow = Vec::new();
    for _ in 0..8 {
        let mut stream = TcpStream::connect(node.authority()).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    let import = || node.send("POST", "/v1/import", json!({ "type": "excalidraw", "elements": [] }));
    let taken = async {
        // Until then not all of them have their places.
        while tokio::time::timeout(Duration::from_millis(300), import()).await.is_ok() {}
    };
    let all_taken = tokio::time::timeout(Duration::from_secs(10), taken).await;
    assert!(all_taken.is_ok(), "there is no limit");
    assert_eq!(
        node.get("/v1/boards/lesson/state").await.status,
        200,
        "what goes out has places of its own"
    );
    assert_eq!(import().await.status, 503, "nobody waits for ever");
    slow.pop();
    assert_eq!(import().await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_have_a_size_and_a_time() {
    let node = Node::open().await;
    let head = "GET /health/live HTTP/1.1\r\nhost: localhost\r\n";
    let long = format!("{head}x: {}\r\n\r\n", "a".repeat(17_000));
    assert!(raw(&node, long.as_bytes()).await.contains(" 431 "));
    let many = "x: a\r\n".repeat(70);
    assert!(
        raw(&node, format!("{head}{many}\r\n").as_bytes())
            .await
            .contains(" 431 ")
    );
    let unfinished = tokio::time::timeout(Duration::from_secs(8), raw(&node, head.as_bytes())).await;
    assert!(unfinished.unwrap().contains(" 408 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_node_answers_no_more() {
    let node = Node::open().await;
    node.draw("/v1/boards/lesson/ops", "a").await;
    let authority = node.authority().to_owned();
    node.stop().await;
    assert!(TcpStream::connect(authority).await.is_err());
}
