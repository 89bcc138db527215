//! Files on their way in and out: rights that end meanwhile, what came deleted, texts that change after they came.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use panseo::config::ServeArgs;
use panseo::interchange::{Scope, export_excalidraw};
use panseo::log::memory::MemoryLog;
use panseo::log::{LogError, Logged, UpdateLog};
use panseo::protocol::Record;
use panseo::protocol::element::{EntryKind, Property as P};
use panseo::protocol::ids::{BoardId, Position, Role, UserId};
use panseo::store::BoardStore as _;
use panseo::store::memory::MemoryStore;
use serde_json::{Value as Json, json};
use tokio::sync::mpsc;

use crate::interchange::{items, read};
use crate::support::node::{Node, answer};

/// A log behind which Mina's pen is taken with the first record.
struct TakesThePen {
    log: MemoryLog,
    store: Arc<MemoryStore>,
}

#[async_trait]
impl UpdateLog for TakesThePen {
    fn append(&self, board: &BoardId, record: Arc<Record>) -> BoxFuture<'static, Result<Position, LogError>> {
        let (append, store, board) = (self.log.append(board, record), Arc::clone(&self.store), board.clone());
        async move {
            store.set_role(&board, &mina(), Some(Role::Viewer)).await.unwrap();
            append.await
        }
        .boxed()
    }

    async fn tail(&self, board: &BoardId, after: Option<Position>) -> Result<mpsc::Receiver<Logged>, LogError> {
        self.log.tail(board, after).await
    }

    async fn end(&self, board: &BoardId) -> Result<Position, LogError> {
        self.log.end(board).await
    }
}

fn mina() -> UserId {
    UserId::new("mina").unwrap()
}

fn file(elements: &[Json]) -> Json {
    json!({ "type": "excalidraw", "version": 2, "elements": elements })
}

fn rectangle(id: &str, more: Json) -> Json {
    let mut element = json!({ "id": id, "type": "rectangle", "x": 1, "y": 2, "width": 3, "height": 4 });
    let Json::Object(more) = more else { panic!("{more}") };
    element.as_object_mut().unwrap().extend(more);
    element
}

// [R-110]
#[tokio::test(flavor = "multi_thread")]
async fn whose_pen_is_taken_puts_no_more_of_a_file_on_the_board() {
    let log = MemoryLog::new(7);
    let store = Arc::new(MemoryStore::new(log.clone()));
    let taking = TakesThePen {
        log,
        store: Arc::clone(&store),
    };
    let node = Node::on(ServeArgs::default(), Arc::new(taking), Arc::clone(&store) as _, || true).await;
    node.send("POST", "/v1/boards", json!({ "id": "lesson" })).await;
    let board = BoardId::new("lesson").unwrap();
    store.set_role(&board, &mina(), Some(Role::Editor)).await.unwrap();
    let elements: Vec<_> = (0..1_200)
        .map(|number| rectangle(&format!("e{number}"), json!({ "locked": number % 2 == 0 })))
        .collect();
    let import = node.ask("POST", "/v1/boards/lesson/import?user=mina");
    let refused = answer(import.json(&file(&elements))).await;
    assert_eq!(refused.problem(), (403, "forbidden".to_owned()));
    let state = node.get("/v1/boards/lesson/state").await.json();
    let entries = state["entries"].as_array().unwrap();
    let elements: Vec<_> = entries.iter().filter(|entry| entry["kind"] == "element").collect();
    assert!(!elements.is_empty() && elements.len() < 1_200, "{}", elements.len());
    let living = elements.iter().filter(|entry| entry["properties"]["deleted"].is_null());
    assert_eq!(living.count(), 0, "what was in is taken back");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_deleted_is_exported_until_the_import_is_taken_back() {
    let node = Node::open().await;
    let elements = [
        rectangle("living", json!({})),
        rectangle("long-gone", json!({ "isDeleted": true, "updated": 5 })),
        rectangle("gone", json!({ "isDeleted": true })),
    ];
    let made = node.send("POST", "/v1/import", file(&elements)).await.json();
    let board = format!("/v1/boards/{}", made["board"].as_str().unwrap());
    let export = async || {
        let path = format!("{board}/export?format=excalidraw");
        let file = node.get(&path).await.json();
        let elements = file["elements"].as_array().unwrap().iter();
        elements
            .map(|element| element["isDeleted"].as_bool().unwrap_or_default())
            .collect::<Vec<_>>()
    };
    assert_eq!(export().await, [false, true, true]);
    let undo = json!({ "ops": [{ "op": "undo", "step": made["gesture"] }] });
    let undone = node.send("POST", &format!("{board}/ops"), undo).await;
    assert_eq!(undone.status, 200, "{undone:?}");
    assert_eq!(export().await, [false; 0]);
}

fn text(text: &str, original: &str) -> Json {
    json!({ "id": "t", "type": "text", "x": 0, "y": 0, "text": text, "originalText": original })
}

// [R-86]
#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_is_set_is_the_one_that_is_exported() {
    let node = Node::open().await;
    let made = node.send("POST", "/v1/import", file(&[text("on\ne", "on e")])).await;
    let board = format!("/v1/boards/{}", made.json()["board"].as_str().unwrap());
    let texts = async || {
        let path = format!("{board}/export?format=excalidraw");
        let element = node.get(&path).await.json()["elements"][0].clone();
        [element["text"].clone(), element["originalText"].clone()]
    };
    assert_eq!(texts().await, ["on\ne", "on e"]);
    for (op, expected) in [
        (
            json!({ "op": "element.update", "target": "t", "set": { "text": "one" } }),
            ["one", "one"],
        ),
        (json!({ "op": "undo" }), ["on\ne", "on e"]),
    ] {
        let done = node.send("POST", &format!("{board}/ops"), json!({ "ops": [op] })).await;
        assert_eq!(done.status, 200, "{done:?}");
        assert_eq!(texts().await, expected);
    }
}

/// `originalText` of an export, after a raw client has set the text.
fn exported(element: Json, new_text: Option<&str>) -> Json {
    let import = read(file(&[element]).to_string().as_bytes()).unwrap();
    let mut items = items(&import);
    let element = items.iter_mut().find(|item| item.kind == EntryKind::Element).unwrap();
    if let Some(text) = new_text {
        element.properties.set(P::Text, text.into());
    }
    let file = export_excalidraw(&items, &Scope::default(), &|_| None);
    file["elements"][0]["originalText"].clone()
}

#[test]
fn an_older_unwrapped_text_is_not_exported() {
    for (original, came, new) in [
        ("one two", "one\ntwo", "three"),
        ("", "one", "three"),
        ("other", "one", "three"),
    ] {
        assert_eq!(exported(text(came, original), None), original, "as it came");
        assert_eq!(exported(text(came, original), Some(new)), new);
    }
    assert_eq!(exported(text("one\ntwo", "one two"), Some("one t\nwo")), "one two");
    let odd = rectangle("r", json!({ "originalText": "stays" }));
    assert_eq!(exported(odd, None), "stays");
}

#[test]
fn a_place_that_is_no_number_is_noted() {
    let odd = rectangle("odd", json!({ "x": "5" }));
    let import = read(file(&[odd]).to_string().as_bytes()).unwrap();
    assert_eq!(import.elements[0].properties.get(P::X).unwrap().as_f64(), Some(0.0));
    assert_eq!(import.notes, ["element 0 (\"odd\"): no number for x, it is 0 now"]);
}
