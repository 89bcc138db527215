//! Runs the suite of foreign clients in `tests/interop`: unmodified Yjs providers and clients of the own door, in Node.

use std::path::Path;
use std::process::Command;

//
#[test]
fn foreign_clients_agree_with_the_server() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop");
    assert!(
        folder.join("node_modules").is_dir(),
        "tests/interop/node_modules is missing: run `npm ci` in tests/interop (`make test` does)"
    );
    let output = Command::new("node")
        .args([
            "--test",
            "--test-force-exit",
            "--test-concurrency=1",
            "--test-reporter=spec",
        ])
        .env("PANSEO_BIN", env!("CARGO_BIN_EXE_panseo"))
        .env_remove("PANSEO_URL")
        .current_dir(&folder)
        .output()
        .expect("node 20 must be installed");
    assert!(
        output.status.success(),
        "the suite failed:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
