//! The main job on real boards: import by the command line, undo, kill, restart, export, and equal.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio::time::Instant;

use super::interchange::{Tolerance, all_files, difference};
use super::kill::Server;

/// The largest board goes in within 1 s; shared machines are noisy.
const LARGEST_MAX: Duration = Duration::from_secs(4);

fn panseo(server: &Server, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_panseo"))
        .args(args)
        .args(["--server", &format!("http://{}", server.address)])
        .output()
        .expect("the program can be started")
}

/// Imports files and gives their boards in the same order.
fn import(server: &Server, folder: &Path, files: &[(String, Vec<u8>)]) -> Vec<String> {
    let mut args = vec!["import".to_owned()];
    for (name, bytes) in files {
        let path = folder.join(name);
        std::fs::write(&path, bytes).unwrap();
        args.push(path.to_string_lossy().into_owned());
    }
    let output = panseo(server, &args.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    let boards: Vec<_> = lines
        .lines()
        .map(|line| line.split(' ').next().unwrap().to_owned())
        .collect();
    assert_eq!(boards.len(), files.len(), "{lines}");
    boards
}

fn export(server: &Server, board: &str) -> Json {
    let output = panseo(server, &["export", board, "--format", "excalidraw"]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{told}");
    assert_eq!(told, format!("panseo: {board} http://{}/b/{board}\n", server.address));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn assert_equal(server: &Server, files: &[(String, Vec<u8>)], boards: &[String]) {
    for ((name, bytes), board) in files.iter().zip(boards) {
        let before: Json = serde_json::from_slice(bytes).unwrap();
        let found = difference("", &before, &export(server, board), Tolerance::None);
        assert_eq!(found, None, "{name}");
    }
}

async fn live_elements(server: &Server, board: &str) -> usize {
    let url = format!("http://{}/v1/boards/{board}/state", server.address);
    let state: Json = reqwest::get(url).await.unwrap().json().await.unwrap();
    let items = state["entries"].as_array().unwrap();
    items
        .iter()
        .filter(|item| item["kind"] == "element" && item["properties"].get("deleted").is_none())
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn real_boards_survive_a_kill_and_come_back_as_they_were() {
    let (data, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mut server, _) = Server::start(data.path()).await;
    let files = all_files("excalidraw", "excalidraw");
    let boards = import(&server, folder.path(), &files);
    assert_equal(&server, &files, &boards);
    server.kill();
    let (server, _) = Server::start(data.path()).await;
    assert_equal(&server, &files, &boards);
}

/// A file of so many texts, each of so many bytes.
fn texts(count: usize, bytes: usize) -> (String, Vec<u8>) {
    let element = |number: usize| {
        json!({
            "id": format!("e{number}"), "type": "text", "x": 1, "y": 2, "width": 3, "height": 4,
            "text": "x".repeat(bytes),
        })
    };
    let file = json!({ "type": "excalidraw", "version": 2, "elements": (0..count).map(element).collect::<Vec<_>>() });
    ("texts.excalidraw".to_owned(), serde_json::to_vec(&file).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_large_texts_is_imported_in_several_records() {
    let (data, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (server, _) = Server::start(data.path()).await;
    let boards = import(&server, folder.path(), &[texts(60, 250_000)]);
    assert_eq!(live_elements(&server, &boards[0]).await, 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_whose_records_end_by_their_bytes_is_taken_back_whole() {
    let (data, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (server, _) = Server::start(data.path()).await;
    let boards = import(&server, folder.path(), &[texts(600, 4_300)]);
    let url = format!("http://{}/v1/boards/{}/ops", server.address, boards[0]);
    let undo = json!({ "ops": [{ "op": "undo" }] });
    let answer = reqwest::Client::new().post(&url).json(&undo).send().await.unwrap();
    assert!(answer.status().is_success(), "{:?}", answer.text().await);
    assert_eq!(live_elements(&server, &boards[0]).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_undo_takes_an_import_back() {
    let (data, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (server, _) = Server::start(data.path()).await;
    let mut files = all_files("excalidraw", "excalidraw");
    files.sort_by_key(|(_, bytes)| std::cmp::Reverse(bytes.len()));
    let largest = &files[..1];
    let begin = Instant::now();
    let boards = import(&server, folder.path(), largest);
    assert!(
        begin.elapsed() < LARGEST_MAX,
        "the largest board took {:?}",
        begin.elapsed()
    );
    let elements = live_elements(&server, &boards[0]).await;
    assert!(elements > 0);
    let url = format!("http://{}/v1/boards/{}/ops", server.address, boards[0]);
    for (op, left) in [("undo", 0), ("redo", elements)] {
        let answer = reqwest::Client::new()
            .post(&url)
            .json(&json!({ "ops": [{ "op": op }] }))
            .send()
            .await
            .unwrap();
        assert!(answer.status().is_success(), "{:?}", answer.text().await);
        assert_eq!(live_elements(&server, &boards[0]).await, left, "after {op}");
    }
    assert_equal(&server, largest, &boards);
}
