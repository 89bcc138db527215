//! Dashboard and alert rules name metrics that the node has, and all that concern a cluster.

use std::collections::BTreeSet;
use std::path::Path;

use crate::support::live::Server;

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Words of the text that begin with `panseo_`.
fn metrics(text: &str) -> BTreeSet<String> {
    let words = text.split(|char: char| !char.is_ascii_alphanumeric() && char != '_');
    words
        .filter(|word| word.starts_with("panseo_"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn dashboard_and_alerts_name_metrics_that_are_there() {
    let known = metrics(&read("src/telemetry.rs"));
    let dashboard = read("dev/monitoring/grafana.json");
    serde_json::from_str::<serde_json::Value>(&dashboard).unwrap();
    let shown = metrics(&dashboard);
    for metric in shown.iter().chain(&metrics(&read("dev/monitoring/alerts.yml"))) {
        let name = metric.strip_suffix("_bucket").unwrap_or(metric);
        assert!(known.contains(name), "there is no metric {name}");
    }
    let of_cluster = [
        "panseo_kafka_",
        "panseo_materialiser_",
        "panseo_dlq_",
        "panseo_relay_",
        "panseo_relayed_",
    ];
    for metric in &known {
        let is_shown = shown.contains(metric) || shown.contains(&format!("{metric}_bucket"));
        let is_of_cluster = of_cluster.iter().any(|prefix| metric.starts_with(prefix));
        assert!(is_shown || !is_of_cluster, "the dashboard does not show {metric}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters_of_which_an_increase_is_an_alert_are_there_from_the_start() {
    let alerts = read("dev/monitoring/alerts.yml");
    let ranges = alerts.split('[');
    let counters: BTreeSet<&str> = ranges
        .filter_map(|text| Some(text.rsplit_once("increase(")?.1))
        .collect();
    assert!(counters.contains("panseo_dlq_total"), "{counters:?}");
    let node = Server::open("");
    let (_, text) = node.request("GET", "/metrics", "", "").await;
    for counter in counters {
        let line = format!("{counter} 0");
        assert!(text.lines().any(|shown| shown == line), "there is no line «{line}»");
    }
}

#[test]
fn every_alert_is_explained_to_operators() {
    let (alerts, operations) = (read("dev/monitoring/alerts.yml"), read("docs/OPERATIONS.md"));
    let lines = alerts.lines().map(str::trim);
    let names: Vec<&str> = lines.filter_map(|line| line.strip_prefix("- alert: ")).collect();
    assert!(names.contains(&"PanseoDeadLetter"), "{names:?}");
    for name in names {
        let row = format!("| `{name}` |");
        assert!(operations.contains(&row), "docs/OPERATIONS.md has no row for {name}");
    }
}
