//! Pages of files that are imported and exported: their order, ids that are taken, and what was deleted.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use serde_json::{Value as Json, json};

use crate::support::node::Node;

async fn op(node: &Node, op: Json) {
    let answer = node.send("POST", "/v1/boards/lesson/ops", json!({ "ops": [op] })).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

fn element(id: &str, page: &str) -> Json {
    let element = json!({ "id": id, "type": "rectangle", "page": page, "x": 0, "y": 0, "width": 9, "height": 9 });
    json!({ "op": "element.create", "element": element })
}

async fn export(node: &Node, board: &str, query: &str) -> Json {
    let path = format!("/v1/boards/{board}/export?format=excalidraw{query}");
    node.get(&path).await.json()
}

async fn import(node: &Node, path: &str, file: &Json) -> Json {
    let answer = node.send("POST", path, file.clone()).await;
    assert!([200, 201].contains(&answer.status), "{answer:?}");
    answer.json()
}

async fn entries(node: &Node, board: &str, kind: &str) -> Vec<Json> {
    let state = node.get(&format!("/v1/boards/{board}/state")).await.json();
    let entries = state["entries"].as_array().unwrap().iter();
    entries
        .filter(|entry| entry["kind"] == kind && entry["properties"]["deleted"].is_null())
        .cloned()
        .collect()
}

/// Titles of the pages in their order; the first page has none unless it was named.
async fn titles(node: &Node, board: &str) -> Vec<String> {
    let text = |page: &Json, key: &str| page["properties"][key].as_str().unwrap_or_default().to_owned();
    let mut pages: Vec<_> = entries(node, board, "page").await;
    pages.sort_by_key(|page| text(page, "pos"));
    pages.iter().map(|page| text(page, "title")).collect()
}

/// A board with four pages, the first of which lies behind the second.
async fn four_pages() -> Node {
    let node = Node::open().await;
    node.send("POST", "/v1/boards", json!({ "id": "lesson" })).await;
    for page in ["two", "three", "four"] {
        op(&node, json!({ "op": "page.add", "page": page, "title": page })).await;
        op(&node, element(&format!("on-{page}"), page)).await;
    }
    op(
        &node,
        json!({ "op": "page.update", "page": "", "title": "one", "after": "two" }),
    )
    .await;
    op(&node, element("on-one", "")).await;
    node
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_a_file_keep_their_order_on_a_new_board() {
    let node = four_pages().await;
    let order = ["two", "one", "three", "four"];
    assert_eq!(titles(&node, "lesson").await, order);
    let copy = import(&node, "/v1/import", &export(&node, "lesson", "").await).await;
    assert_eq!(titles(&node, copy["board"].as_str().unwrap()).await, order);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_are_added_in_one_frame_keep_their_order() {
    let node = Node::open().await;
    let names = ["f", "e", "d", "c", "b", "a"];
    let ops: Vec<_> = names
        .iter()
        .map(|name| json!({ "op": "page.add", "page": name, "title": name }))
        .collect();
    let added = node.send("POST", "/v1/boards/lesson/ops", json!({ "ops": ops })).await;
    assert_eq!(added.status, 200, "{added:?}");
    assert_eq!(titles(&node, "lesson").await, names);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_board_takes_its_own_file_again_behind_its_pages() {
    let node = four_pages().await;
    let file = export(&node, "lesson", "").await;
    import(&node, "/v1/boards/lesson/import", &file).await;
    assert_eq!(
        titles(&node, "lesson").await,
        ["two", "one", "three", "four", "two", "three", "four"]
    );
    let elements = entries(&node, "lesson", "element").await;
    let mut on: Vec<_> = elements
        .iter()
        .map(|element| element["properties"]["page"].as_str().unwrap_or_default())
        .collect();
    on.sort_unstable();
    on.dedup();
    assert_eq!((elements.len(), on.len()), (8, 7), "the copies are on the copied pages");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_page_is_in_no_file() {
    let node = four_pages().await;
    op(&node, json!({ "op": "page.delete", "page": "three" })).await;
    let file = export(&node, "lesson", "").await.to_string();
    assert!(!file.contains("three"), "{file}");
    let whole = export(&node, "lesson", "&deleted=true").await;
    let elements = whole["elements"].as_array().unwrap();
    let of_page = elements.iter().find(|element| element["id"] == "on-three").unwrap();
    assert_eq!(of_page["isDeleted"], true);
    for path in [
        "/v1/boards/lesson/export?format=excalidraw&page=three",
        "/v1/boards/lesson/export.svg?page=three",
    ] {
        assert_eq!(node.get(path).await.status, 404, "{path}");
    }
    let copy = import(&node, "/v1/import", &whole).await;
    assert_eq!(
        titles(&node, copy["board"].as_str().unwrap()).await,
        ["two", "one", "four"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_file_that_is_refused_half_way_nothing_stays() {
    let node = four_pages().await;
    let before = entries(&node, "lesson", "element").await;
    let element = |number: usize, x: f64| json!({ "id": format!("n{number}"), "type": "rectangle", "x": x, "y": 0, "width": 9, "height": 9 });
    let mut elements: Vec<_> = (0..1_200).map(|number| element(number, 1.0)).collect();
    elements.push(element(1_200, 2e7));
    let pages = json!([{ "id": "new", "title": "new", "pos": "a1" }]);
    let file = json!({ "type": "excalidraw", "version": 2, "elements": elements, "panseo": { "pages": pages } });
    let refused = node.send("POST", "/v1/boards/lesson/import", file).await;
    assert_eq!(refused.status, 400, "{refused:?}");
    assert_eq!(entries(&node, "lesson", "element").await.len(), before.len());
    assert_eq!(titles(&node, "lesson").await, ["two", "one", "three", "four"]);
}
