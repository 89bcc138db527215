//! Settings and the command line: which value wins, and what is said of a wrong one.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use panseo::config::{AuthConfig, Config, ConfigError, ServeArgs};
use panseo::http::token::Verifier;
use panseo::log::disk::{Database, FILE_NAME};
use panseo::protocol::limits::Limits;
use tempfile::TempDir;

const SECRET: &str = "a secret of more than thirty-two bytes";

fn resolve(args: ServeArgs, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let variables: HashMap<_, _> = environment.iter().copied().collect();
    Config::resolve(args, &|name| variables.get(name).map(|value| (*value).to_owned()))
}

fn in_file(text: &str) -> (TempDir, String) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("panseo.toml");
    fs::write(&path, text).unwrap();
    (folder, path.to_string_lossy().into_owned())
}

#[test]
fn flag_wins_over_environment_over_file_over_default() {
    let (_folder, path) =
        in_file("listen = \"127.0.0.1:1\"\nlog = \"warn\"\ndata_dir = \"there\"\n[limits]\nelements_max = 7");
    let args = ServeArgs {
        config: Some(path),
        listen: Some("127.0.0.1:3".into()),
        ..ServeArgs::default()
    };
    let config = resolve(
        args.clone(),
        &[("PANSEO_LISTEN", "127.0.0.1:2"), ("PANSEO_LOG", "error")],
    )
    .unwrap();
    assert_eq!(config.listen.port(), 3);
    assert_eq!(config.log, "error");
    assert_eq!(config.data_dir, Path::new("there"));
    assert_eq!((config.limits.elements_max, config.limits.tick_ms), (7, 33));
    let defaults = resolve(ServeArgs::default(), &[]).unwrap();
    assert_eq!(
        (defaults.listen.to_string(), defaults.auth),
        ("127.0.0.1:8080".to_owned(), AuthConfig::Open)
    );
}

#[test]
fn the_limits_are_written_down() {
    let operations = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/OPERATIONS.md")).unwrap();
    let limits = serde_json::to_value(Limits::default()).unwrap();
    for (key, value) in limits.as_object().unwrap() {
        assert!(
            operations.contains(&format!("| `{key}` | {value} |")),
            "{key} = {value}"
        );
    }
}

#[test]
fn a_secret_is_never_printed() {
    let config = resolve(ServeArgs::default(), &[("PANSEO_JWT_KEY", SECRET)]).unwrap();
    assert!(matches!(config.auth, AuthConfig::Jwt { .. }));
    let printed = format!("{config:?}");
    assert!(printed.contains("***") && !printed.contains("thirty"), "{printed}");
}

fn panseo(args: &[&str], environment: &[(&str, &str)]) -> Output {
    let folder = TempDir::new().unwrap();
    Command::new(env!("CARGO_BIN_EXE_panseo"))
        .args(args)
        .env_clear()
        .envs(environment.iter().copied())
        .current_dir(folder.path())
        .output()
        .unwrap()
}

/// The one line on standard error, with the exit code.
#[track_caller]
fn complaint(output: &Output) -> (i32, String) {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(output.stdout.is_empty());
    (output.status.code().unwrap(), text)
}

#[test]
fn every_wrong_value_is_one_line_that_names_it() {
    let (_a, unknown_key) = in_file("lisetn = \"127.0.0.1:1\"");
    let (_b, bad_limit) = in_file("[limits]\nelements_max = 0");
    let (_c, not_toml) = in_file("listen = ");
    let (_d, idle) = in_file("[limits]\nping_interval_ms = 50000");
    for (args, name) in [
        (vec!["--listen", "nowhere"], "--listen"),
        (vec!["--auth", "maybe"], "--auth"),
        (vec!["--auth", "jwt"], "--auth"),
        (vec!["--auth", "open", "--listen", "0.0.0.0:0"], "--auth"),
        (vec!["--listen", "0.0.0.0:0"], "--auth"),
        (vec!["--jwt-key", "short"], "--jwt-key"),
        (vec!["--jwt-key-file", "no-such-file"], "--jwt-key-file"),
        (vec!["--origins", "https://a.example/path"], "--origins"),
        (vec!["--log", "=="], "--log"),
        (vec!["--data-dir", ""], "--data-dir"),
        (vec!["--config", "no-such-file"], "--config"),
        (vec!["--config", &unknown_key], "lisetn"),
        (vec!["--config", &bad_limit], "elements_max"),
        (vec!["--config", &not_toml], "--config"),
        (vec!["--config", &idle], "idle_timeout_ms"),
        (
            vec!["--kafka-brokers", "k:1"],
            "--kafka-brokers: cluster mode needs PANSEO_DATABASE_URL",
        ),
        (vec!["--database-url", "postgres://u:hush@h/d"], "PANSEO_KAFKA_BROKERS"),
        (vec!["--kafka-brokers", "k"], "--kafka-brokers"),
        (
            vec!["--kafka-brokers", "k:1", "--kafka-partitions", "0"],
            "--kafka-partitions",
        ),
        (
            vec!["--kafka-brokers", "k:1", "--kafka-replication", "three"],
            "--kafka-replication",
        ),
        (
            vec!["--kafka-brokers", "k:1", "--kafka-prefix", "a b"],
            "--kafka-prefix",
        ),
        (
            vec!["--kafka-brokers", "k:1", "--kafka-option", "hush"],
            "--kafka-option",
        ),
        (
            vec!["--kafka-brokers", "k:1", "--database-url", "postgres://u:hush@h/d"],
            "PANSEO_ASSETS",
        ),
        (vec!["--nonsense"], "--nonsense"),
    ] {
        let mut all = vec!["serve"];
        all.extend(&args);
        let (code, line) = complaint(&panseo(&all, &[]));
        assert_eq!(code, 2, "{args:?}: {line}");
        assert!(line.contains(name) && !line.contains("hush"), "{args:?}: {line}");
    }
    for (name, value) in [
        ("PANSEO_LISTEN", "nowhere"),
        ("PANSEO_AUTH", "maybe"),
        ("PANSEO_JWT_KEY", "short"),
        ("PANSEO_JWT_KEY_FILE", "no-such-file"),
        ("PANSEO_ORIGINS", "school"),
        ("PANSEO_LOG", "=="),
        ("PANSEO_DATA_DIR", ""),
        ("PANSEO_CONFIG", "no-such-file"),
        ("PANSEO_NO_RATE_LIMITS", "perhaps"),
        ("PANSEO_KAFKA_BROKERS", "k:1"),
    ] {
        let (code, line) = complaint(&panseo(&["serve"], &[(name, value)]));
        assert_eq!(code, 2, "{name}: {line}");
        assert!(line.contains(name), "{name}: {line}");
    }
}

#[test]
fn what_would_do_nothing_is_refused() {
    let (_folder, file) = in_file("kafka_create_topics = true");
    for (args, said) in [
        (vec!["--node", "n1"], "--node: is for cluster mode"),
        (vec!["--roles", "edge"], "--roles: is for cluster mode"),
        (vec!["--assets", "there"], "--assets: is for cluster mode"),
        (
            vec!["--public-url", "https://a.example"],
            "--public-url: is for cluster mode",
        ),
        (vec!["--kafka-prefix", "a"], "--kafka-prefix: is for cluster mode"),
        (
            vec!["--kafka-partitions", "8"],
            "--kafka-partitions: is for cluster mode",
        ),
        (
            vec!["--kafka-replication", "1"],
            "--kafka-replication: is for cluster mode",
        ),
        (vec!["--kafka-option", "a=hush"], "--kafka-option: is for cluster mode"),
        (
            vec!["--kafka-create-topics"],
            "--kafka-create-topics: is for cluster mode",
        ),
        (vec!["--jwt-issuer", "school"], "--jwt-issuer: is for `jwt`"),
        (vec!["--jwt-audience", "boards"], "--jwt-audience: is for `jwt`"),
        (
            vec!["--config", &file],
            "`kafka_create_topics` in the configuration file: is for",
        ),
    ] {
        let (code, line) = complaint(&panseo(&[&["serve"][..], &args[..]].concat(), &[]));
        assert_eq!(code, 2, "{args:?}: {line}");
        assert!(line.contains(said) && !line.contains("hush"), "{args:?}: {line}");
    }
    for (name, value) in [
        ("PANSEO_NODE", "n1"),
        ("PANSEO_KAFKA_OPTION", "a=b"),
        ("PANSEO_KAFKA_CREATE_TOPICS", "true"),
        ("PANSEO_JWT_ISSUER", "school"),
    ] {
        let (code, line) = complaint(&panseo(&["serve"], &[(name, value)]));
        assert_eq!(code, 2, "{name}: {line}");
        assert!(line.contains(&format!("{name}: is for ")), "{name}: {line}");
    }
}

#[test]
fn a_cluster_is_chosen_by_brokers_and_database_and_keeps_its_secrets() {
    let (_folder, path) =
        in_file("database_url = \"postgres://u:hush@h/d\"\n[kafka_options]\n\"sasl.password\" = \"hush\"");
    let args = ServeArgs {
        config: Some(path),
        ..ServeArgs::default()
    };
    let given = [
        ("PANSEO_KAFKA_BROKERS", "a:9092,b:9092"),
        ("PANSEO_ASSETS", "/shared"),
        ("PANSEO_NODE", "n1"),
        (
            "PANSEO_KAFKA_OPTION",
            "security.protocol=sasl_ssl\nsasl.username=me,too\n",
        ),
    ];
    let config = resolve(args, &given).unwrap();
    let printed = format!("{config:?}");
    assert!(!printed.contains("hush"), "{printed}");
    let kafka = config.cluster.unwrap().kafka;
    assert_eq!(
        (kafka.partitions, kafka.replication, kafka.prefix.as_str()),
        (64, 3, "panseo")
    );
    let options: Vec<_> = kafka
        .options
        .iter()
        .map(|(key, value)| (key.as_str(), value.reveal()))
        .collect();
    let expected = [
        ("sasl.password", "hush"),
        ("sasl.username", "me,too"),
        ("security.protocol", "sasl_ssl"),
    ];
    assert_eq!(options, expected);
    assert_eq!(resolve(ServeArgs::default(), &[]).unwrap().cluster, None);
}

#[test]
fn a_node_has_the_roles_it_is_given_in_a_cluster_and_all_of_them_else() {
    let roles = |given: &[(&str, &str)]| {
        let cluster = [
            ("PANSEO_KAFKA_BROKERS", "a:9092"),
            ("PANSEO_DATABASE_URL", "postgres://u@h/d"),
            ("PANSEO_ASSETS", "/shared"),
        ];
        let config = resolve(ServeArgs::default(), &[&cluster, given].concat());
        let config = config.map_err(|error| error.to_string())?;
        let roles = config.cluster.expect("it is a cluster").roles;
        Ok::<_, String>((roles.is_edge, roles.is_materialiser))
    };
    assert_eq!(roles(&[]), Ok((true, true)));
    assert_eq!(roles(&[("PANSEO_ROLES", "edge, materialiser")]), Ok((true, true)));
    assert_eq!(roles(&[("PANSEO_ROLES", "edge")]), Ok((true, false)));
    let alone = [
        ("PANSEO_ROLES", "materialiser"),
        ("PANSEO_PUBLIC_URL", "https://one.test"),
    ];
    assert_eq!(roles(&alone[..1]), Ok((false, true)));
    assert!(roles(&alone).unwrap_err().contains("PANSEO_PUBLIC_URL"));
    for bad in ["", "teacher", "edge;materialiser"] {
        assert!(
            roles(&[("PANSEO_ROLES", bad)]).unwrap_err().contains("PANSEO_ROLES"),
            "{bad}"
        );
    }
    let without = resolve(ServeArgs::default(), &[("PANSEO_ROLES", "edge")]);
    assert!(without.unwrap_err().to_string().contains("PANSEO_ROLES"));
}

#[test]
fn a_cluster_that_is_not_there_is_named_in_one_line() {
    let cluster = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--log",
        "off",
        "--assets",
        "assets",
        "--database-url",
        "postgres://u:hush@h/d",
    ];
    for (brokers, option, named) in [
        (
            "127.0.0.1:1",
            "sasl.username=me",
            "no Kafka broker answers at 127.0.0.1:1",
        ),
        ("127.0.0.1:1", "acks=1", "--kafka-option acks"),
        (
            "127.0.0.1:1",
            "security.protocol=hush",
            "--kafka-option security.protocol",
        ),
    ] {
        let kafka = ["--kafka-brokers", brokers, "--kafka-option", option];
        let (code, line) = complaint(&panseo(&[&cluster[..], &kafka].concat(), &[]));
        assert_eq!(code, 1, "{line}");
        assert!(line.contains(named) && !line.contains("hush"), "{line}");
    }
}

#[test]
fn other_verbs_complain_the_same_way() {
    for (args, name) in [
        (vec!["token", "--user", "a"], "--jwt-key"),
        (vec!["token", "--user", "", "--jwt-key", SECRET], "--user"),
        (
            vec!["token", "--user", "a", "--jwt-key", SECRET, "--board", "lesson"],
            "--board",
        ),
        (
            vec!["token", "--user", "a", "--jwt-key", SECRET, "--ttl", "13"],
            "--ttl",
        ),
        (vec!["import"], "<FILE>"),
        (vec!["import", "a", "--server", "not a url"], "--server"),
        (vec!["import", "a", "--server", "localhost:8080"], "--server"),
        (
            vec!["export", "lesson", "--format", "json", "--token", "a b"],
            "--token",
        ),
        (vec!["export", "lesson", "--format", "pdf"], "--format"),
        (vec!["export", "lesson", "--format", "json", "--page", "p"], "--page"),
        (vec!["export", "lesson", "--format", "json", "--width", "9"], "--width"),
        (vec!["token", "--user", "a", "--jwt-key", "short"], "--jwt-key"),
        (
            vec!["token", "--user", "a", "--jwt-key", SECRET, "--name", "a\nb"],
            "--name",
        ),
        (vec!["fly"], "fly"),
    ] {
        let (code, line) = complaint(&panseo(&args, &[]));
        assert_eq!(code, 2, "{args:?}: {line}");
        assert!(line.contains(name), "{args:?}: {line}");
    }
}

#[test]
fn a_minted_token_is_for_the_server_of_the_same_environment() {
    let environment = [
        ("PANSEO_JWT_KEY", SECRET),
        ("PANSEO_JWT_ISSUER", "school"),
        ("PANSEO_JWT_AUDIENCE", "boards"),
    ];
    let minted = panseo(&["token", "--user", "ada"], &environment);
    let token = String::from_utf8(minted.stdout).unwrap();
    let named = |name: &str| Some(name.to_owned());
    let verifier = Verifier::new(SECRET, named("school"), named("boards")).unwrap();
    let caller = verifier.verify(token.trim(), panseo::server::clock()).unwrap();
    assert_eq!(caller.identity.user.as_str(), "ada");
}

#[test]
fn who_does_not_answer_is_told_with_the_cause() {
    let file = TempDir::new().unwrap();
    let path = file.path().join("a.excalidraw");
    fs::write(&path, "{}").unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let server = format!("http://me:hush@{free}");
    let (code, line) = complaint(&panseo(&["import", path.to_str().unwrap(), "--server", &server], &[]));
    assert_eq!(code, 1, "{line}");
    assert!(line.contains("refused") && !line.contains("hush"), "{line}");
}

#[test]
fn without_a_verb_the_help_is_shown_and_nothing_is_done() {
    let shown = panseo(&[], &[]);
    assert_eq!(shown.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&shown.stderr).contains("serve"), "{shown:?}");
}

#[test]
fn what_stands_in_the_way_of_a_start_is_one_line() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = TempDir::new().unwrap();
    let data_dir = folder.path().join("data");
    let (code, line) = complaint(&panseo(
        &["serve", "--listen", &address, "--data-dir", data_dir.to_str().unwrap()],
        &[],
    ));
    assert_eq!(code, 1, "{line}");
    assert!(line.contains(&address));
    assert!(!data_dir.exists(), "a start that fails touches nothing");

    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    let (code, line) = complaint(&panseo(
        &["serve", "--listen", "127.0.0.1:0", "--data-dir", file.to_str().unwrap()],
        &[],
    ));
    assert_eq!(code, 1, "{line}");
    assert!(line.contains("file"));
    assert_eq!(fs::read(&file).unwrap(), b"x");
}

#[test]
fn that_no_log_in_is_needed_is_said_whatever_is_logged() {
    let folder = TempDir::new().unwrap();
    let mut server = Command::new(env!("CARGO_BIN_EXE_panseo"))
        .args(["serve", "--listen", "127.0.0.1:0", "--log", "off", "--data-dir"])
        .arg(folder.path())
        .env_clear()
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(server.stderr.take().unwrap())
        .read_line(&mut said)
        .unwrap();
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(said.starts_with("NO LOG-IN IS NEEDED"), "{said}");
}

#[test]
fn help_is_plain_text() {
    for args in [
        &["--help"][..],
        &["serve", "--help"],
        &["bench", "--help"],
        &["topics", "create", "--help"],
    ] {
        let help = String::from_utf8(panseo(args, &[]).stdout).unwrap();
        assert!(help.contains("Usage:") && !help.contains('`'), "{help}");
        assert_eq!(help.contains("--node"), args[0] == "serve", "{help}");
    }
}

#[test]
fn a_directory_without_a_database_is_named_once() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().to_str().unwrap();
    let (code, line) = complaint(&panseo(&["verify", "--data-dir", path], &[]));
    assert_eq!((code, line.matches(path).count()), (1, 1), "{line}");
}

#[test]
fn a_locked_directory_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().to_str().unwrap();
    let _open = panseo::log::disk::Database::open(folder.path()).unwrap();
    let (code, line) = complaint(&panseo(&["serve", "--listen", "127.0.0.1:0", "--data-dir", path], &[]));
    assert_eq!(code, 1, "{line}");
    assert!(line.contains("in use by another process"), "{line}");
}

/// Files of a folder with their content.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            let content = fs::read(entry.path()).unwrap_or_default();
            (entry.file_name().to_string_lossy().into_owned(), content)
        })
        .collect();
    files.sort();
    files
}

#[test]
fn a_data_directory_that_cannot_be_used_is_one_line_and_left_alone() {
    let serve = |path: &Path| {
        let path = path.to_str().unwrap();
        complaint(&panseo(&["serve", "--listen", "127.0.0.1:0", "--data-dir", path], &[]))
    };
    // No rights help there, not even those of the system's owner.
    let (code, line) = serve(Path::new("/proc/panseo-data"));
    assert!(
        code == 1 && line.contains("/proc/panseo-data") && line.contains("not writable"),
        "{line}"
    );

    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join(FILE_NAME)).unwrap();
    let (code, line) = serve(folder.path());
    assert!(code == 1 && line.contains(folder.path().to_str().unwrap()), "{line}");
    assert_eq!(files(folder.path()), [(FILE_NAME.to_owned(), Vec::new())]);

    let folder = TempDir::new().unwrap();
    drop(Database::open(folder.path()).unwrap());
    {
        let newer = redb::Database::open(folder.path().join(FILE_NAME)).unwrap();
        let transaction = newer.begin_write().unwrap();
        let meta = redb::TableDefinition::<&str, u64>::new("meta");
        transaction.open_table(meta).unwrap().insert("format", 99).unwrap();
        transaction.commit().unwrap();
    }
    let before = files(folder.path());
    let (code, line) = serve(folder.path());
    assert!(code == 1 && line.contains("format 99"), "{line}");
    assert!(files(folder.path()) == before, "not a byte is changed");
}
