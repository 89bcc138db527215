//! Runs the suite of foreign clients in `tests/interop`: unmodified Yjs providers and clients of the own door, in Node.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::two_nodes::Ground;

//
#[test]
fn foreign_clients_agree_with_the_server() {
    run(suite().env("PANSEO_BIN", env!("CARGO_BIN_EXE_panseo")));
}

//
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_clients_of_two_nodes_see_each_other() {
    let Some(ground) = Ground::find().await else { return };
    let nodes = ["one", "two"].map(|name| ground.node_with(name, &["--auth", "open", "--no-rate-limits"]));
    let mut suite = suite();
    suite
        .arg("across.mjs")
        .env("PANSEO_ONE", nodes[0].address.to_string())
        .env("PANSEO_TWO", nodes[1].address.to_string());
    tokio::task::block_in_place(|| run(&mut suite));
}

fn suite() -> Command {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop");
    assert!(
        folder.join("node_modules").is_dir(),
        "tests/interop/node_modules is missing: run `npm ci` in tests/interop (`make test` does)"
    );
    let mut suite = Command::new("node");
    suite
        .args([
            "--test",
            "--test-force-exit",
            "--test-concurrency=1",
            "--test-reporter=spec",
        ])
        .env_remove("PANSEO_URL")
        .current_dir(folder);
    suite
}

fn run(suite: &mut Command) {
    let output = suite.output().expect("node 20 must be installed");
    assert!(
        output.status.success(),
        "the suite failed:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
