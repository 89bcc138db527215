//! Reads `src/` and fails where a module uses one it must not know, or a foreign crate leaves its home.
//!
//! Plain text checks: comments, texts and the test modules at the ends of files are cut out, then paths are looked for.
//! The direction is that of `docs/ARCHITECTURE.md`.

use std::fs;
use std::path::{Path, PathBuf};

/// Module -> the modules it may name. What is not listed here may not exist.
const MAY_USE: &[(&str, &[&str])] = &[
    ("protocol", &[]),
    ("board", &["protocol"]),
    ("access", &["protocol"]),
    ("presence", &["protocol"]),
    ("interchange", &["protocol"]),
    ("picture", &["protocol"]),
    ("log", &["protocol", "telemetry"]),
    ("store", &["protocol", "telemetry"]),
    ("materialiser", &["protocol", "log", "store", "telemetry"]),
    (
        "room",
        &["protocol", "board", "access", "presence", "log", "store", "telemetry"],
    ),
    (
        "http",
        &[
            "protocol",
            "board",
            "access",
            "interchange",
            "picture",
            "store",
            "room",
            "telemetry",
        ],
    ),
    (
        "server",
        &[
            "protocol",
            "log",
            "store",
            "materialiser",
            "room",
            "http",
            "config",
            "telemetry",
        ],
    ),
    ("config", &["protocol", "telemetry"]),
    ("telemetry", &[]),
    (
        "cli",
        &[
            "protocol",
            "http",
            "log",
            "store",
            "server",
            "config",
            "telemetry",
            "bench",
        ],
    ),
    ("bench", &["protocol", "board", "log", "store", "room"]),
    ("main", &["cli"]),
];

/// File or folder, module it may name all the same, reason.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("store/disk", "log", "both disk adapters share one database"),
    ("store/memory", "log", "as above, in memory"),
    (
        "store/postgres/history",
        "log",
        "sealed blocks have one form in all stores",
    ),
    (
        "log/disk/fault",
        "store",
        "a fault of the shared database is told to callers of the store, too",
    ),
    (
        "config",
        "http",
        "origins and token keys are checked by the code that uses them",
    ),
];

/// Foreign crate -> the files and folders it may be used in.
const HOMES: &[(&str, &[&str])] = &[
    // `bench` plays foreign clients, so it has the libraries that they would have.
    ("yrs", &["board", "bench"]),
    ("rmp_serde", &["protocol/codec", "bench"]),
    ("axum", &["http", "server"]),
    ("redb", &["log/disk", "store/disk"]),
    ("sqlx", &["store/postgres"]),
    ("object_store", &["store/postgres/assets"]),
    ("rdkafka", &["log/kafka"]),
    ("dashmap", &["room/hub"]),
    ("resvg", &["picture/raster"]),
];

/// Files and folders that are pure: no runtime, so no channel, no timer, no I/O.
const WITHOUT_TOKIO: &[&str] = &["protocol", "board", "access", "presence", "interchange", "picture"];
/// Files that are pure, though others in their folder are not.
const FILES_WITHOUT_TOKIO: &[&str] = &[
    "room",
    "room/edit",
    "room/refusals",
    "room/roles",
    "room/run",
    "room/saving",
    "room/session",
    "room/showing",
    "room/updates",
    "room/yjs",
];

/// Whether the file is `place`, or lies in the folder of that name.
fn lies_in(file: &str, place: &str) -> bool {
    file.strip_prefix(place)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The source without comments, texts and the test module at its end.
fn code_of(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut lines = source.lines().peekable();
    while let Some(line) = lines.next() {
        if line == "#[cfg(test)]"
            && lines
                .peek()
                .is_some_and(|next| next.starts_with("mod ") && next.ends_with('{'))
        {
            break;
        }
        code.push_str(&without_texts(line));
        code.push('\n');
    }
    code
}

/// One line without what stands between quotes, and without a comment at its end. Of a text that goes over several lines
/// the first and the last are misread; paths are not written behind one.
fn without_texts(line: &str) -> String {
    let mut kept = String::new();
    let mut chars = line.chars().peekable();
    let mut is_text = false;
    while let Some(char) = chars.next() {
        match char {
            '\\' if is_text => {
                chars.next();
            }
            // The character `"` is no beginning of a text.
            '\'' if !is_text && chars.peek() == Some(&'"') => {
                chars.next();
            }
            '"' => is_text = !is_text,
            '/' if !is_text && chars.peek() == Some(&'/') => break,
            other if !is_text => kept.push(other),
            _ => {}
        }
    }
    kept
}

fn is_name(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

/// Names that follow `head` in the code, those in braces too: `crate::a::B` and `crate::{a::B, c}` give `a` and `c`.
fn names_after(code: &str, head: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in code.match_indices(head) {
        if code[..at].ends_with(is_name) {
            continue;
        }
        let rest = &code[at + head.len()..];
        match rest.strip_prefix('{') {
            None => names.push(rest.chars().take_while(|char| is_name(*char)).collect()),
            Some(list) => names.extend(first_names(list)),
        }
    }
    names
}

/// First name of each part of a list in braces, up to its end.
fn first_names(list: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut depth = 0_usize;
    for char in list.chars() {
        match char {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => parts.push(String::new()),
            other if depth == 0 => parts.last_mut().expect("the list begins with one part").push(other),
            _ => {}
        }
    }
    let name = |part: &String| {
        part.trim()
            .chars()
            .take_while(|char| is_name(*char))
            .collect::<String>()
    };
    parts.iter().map(name).filter(|name| !name.is_empty()).collect()
}

/// Whether the code names the foreign crate: in a path, or in a `use` of the crate itself.
fn names_crate(code: &str, name: &str) -> bool {
    code.match_indices(name).any(|(at, _)| {
        let (before, rest) = (&code[..at], &code[at + name.len()..]);
        // A path through a module of the same name is not the crate.
        let is_whole = !before.ends_with(is_name) && !before.ends_with("crate::") && !before.ends_with("self::");
        let is_path = rest.starts_with("::");
        let is_use = before.trim_end().ends_with("use") && rest.starts_with([';', ' ']);
        is_whole && (is_path || is_use)
    })
}

/// All breaches in one file; `file` is its path under `src/` without `.rs`.
fn breaches(file: &str, source: &str) -> Vec<String> {
    let code = code_of(source);
    let mut found = Vec::new();
    let module = file.split('/').next().unwrap_or(file);
    if module != "lib" {
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == module) else {
            return vec![format!(
                "{file}: the module `{module}` has no place in the direction of dependencies"
            )];
        };
        let heads = ["crate::", "panseo::"];
        for used in heads.iter().flat_map(|head| names_after(&code, head)) {
            let is_module = MAY_USE.iter().any(|(name, _)| *name == used);
            let is_excepted = EXCEPTIONS
                .iter()
                .any(|(place, name, _)| lies_in(file, place) && *name == used);
            if is_module && used != module && !allowed.contains(&used.as_str()) && !is_excepted {
                found.push(format!("{file}: `{module}` must not use `{used}`"));
            }
        }
    }
    for (name, homes) in HOMES {
        if names_crate(&code, name) && !homes.iter().any(|home| lies_in(file, home)) {
            found.push(format!("{file}: `{name}` belongs in {homes:?} only"));
        }
    }
    let is_pure = WITHOUT_TOKIO.iter().any(|place| lies_in(file, place)) || FILES_WITHOUT_TOKIO.contains(&file);
    if is_pure && names_crate(&code, "tokio") {
        found.push(format!("{file}: pure code must not use `tokio`"));
    }
    // Ids come in as arguments, and so does what lies in files; tests may make their own.
    if is_pure && !file.split('/').any(|part| part == "tests") {
        for drawn in ["::now_v7", "::new_v4"] {
            if code.contains(drawn) {
                found.push(format!("{file}: pure code must not call `{drawn}`"));
            }
        }
        if names_after(&code, "std::").iter().any(|name| name == "fs") {
            found.push(format!("{file}: pure code must not use `std::fs`"));
        }
    }
    found
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("the entry can be read").path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Every file of `src/` by its path there without `.rs`, with its text.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&root, &mut files);
    files.sort();
    let read = |path: &PathBuf| {
        let inside = path
            .strip_prefix(&root)
            .expect("it was found under the root")
            .with_extension("");
        (
            inside.to_string_lossy().into_owned(),
            fs::read_to_string(path).expect("the file can be read"),
        )
    };
    files.iter().map(read).collect()
}

#[test]
fn nothing_uses_what_it_must_not_know() {
    let sources = sources();
    assert!(sources.len() > 50, "only {} files were found", sources.len());
    let found: Vec<String> = sources
        .iter()
        .flat_map(|(file, source)| breaches(file, source))
        .collect();
    assert!(
        found.is_empty(),
        "the direction of dependencies is broken:\n{}",
        found.join("\n")
    );
}

#[test]
fn every_exception_is_still_needed() {
    let sources = sources();
    for (place, used, _) in EXCEPTIONS {
        let is_needed = sources
            .iter()
            .filter(|(file, _)| lies_in(file, place))
            .any(|(_, source)| names_after(&code_of(source), "crate::").iter().any(|name| name == used));
        assert!(is_needed, "`{place}` no longer uses `{used}`: take the exception out");
    }
}

#[test]
fn a_breach_is_found_however_it_is_written() {
    for source in [
        "use crate::room::Room;",
        "use crate::{protocol, room::{Room, Input}};",
        "fn f() { crate::room::open(); }",
        "use yrs::Doc;",
        "use yrs as crdt;",
        "fn f(doc: &yrs::Doc) {}",
        "async fn f() { tokio::task::yield_now().await }",
        "use tokio::{sync::mpsc, time};",
        "fn f() -> Uuid { Uuid::now_v7() }",
        "fn f() { draw(Uuid::new_v4) }",
        "use std::fs;",
        "use std::{fs::File, io};",
    ] {
        assert_eq!(breaches("access", source).len(), 1, "{source}");
    }
    assert_eq!(breaches("protocol/points", "use crate::board::Board;").len(), 1);
    assert_eq!(breaches("room/saving", "use tokio::time::Instant;").len(), 1);
    assert_eq!(breaches("http/boards", "use redb::Database;").len(), 1);
    assert_eq!(breaches("room/hubbub", "use dashmap::DashMap;").len(), 1);
    assert_eq!(breaches("util", "").len(), 1);
}

#[test]
fn what_is_allowed_is_not_reported() {
    for (file, source) in [
        (
            "access",
            "//! `crate::room` takes this; tokio::spawn does not.\nuse crate::protocol::ids::UserId;",
        ),
        (
            "access",
            "const HINT: &str = \"use crate::room::Room, or \\\"yrs::Doc\\\"\"; // crate::room",
        ),
        ("access", "const MARK: char = '\"'; // crate::room::Room"),
        (
            "access",
            "fn f() {}\n\n#[cfg(test)]\nmod tests {\n    use crate::room::Room;\n}",
        ),
        ("access", "use self::tokio::x; fn crate_room(yrs_like: u8) {}"),
        ("board/tests", "fn f() -> Uuid { Uuid::now_v7() }"),
        ("http/boards", "fn f() -> Uuid { Uuid::now_v7() }"),
        ("board/guard/walk", "use yrs::Doc;\nuse super::shape;"),
        ("room/task", "use tokio::sync::mpsc;"),
        ("room/hub", "use dashmap::mapref::entry::Entry as Slot;"),
        ("store/disk", "use redb::Table;\nuse crate::log::disk::Database;"),
        ("lib", "pub mod room;"),
    ] {
        assert_eq!(breaches(file, source), Vec::<String>::new(), "{source}");
    }
}
