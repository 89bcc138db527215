//! The log subscriber, and the names of all metrics.
//!
//! Names end in their unit, counters in `_total`. Labels are few and closed: board ids, users and addresses are never
//! labels. What `metrics-process` adds is named `process_*` as Prometheus recommends.
//!
//! Logged are facts about the node and its rooms; never drawn content, text, tokens, query strings or addresses.

use std::io::IsTerminal as _;
use std::sync::OnceLock;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use thiserror::Error;
use tracing_subscriber::EnvFilter;

/// Target of the lines that say who wrote under whose client ids.
pub const AUDIT: &str = "audit";

/// Answered HTTP requests, by `method`, `route` and `status`.
pub const HTTP_REQUESTS_TOTAL: &str = "panseo_http_requests_total";
/// Time from head to answer of HTTP requests, by `route`.
pub const HTTP_REQUEST_SECONDS: &str = "panseo_http_request_duration_seconds";
/// Open connections.
pub const CONNECTIONS: &str = "panseo_connections";
/// Connections refused because there are too many, by `limit` (`node` or `address`).
pub const CONNECTIONS_REFUSED_TOTAL: &str = "panseo_connections_refused_total";
/// Log-ins with a bad token.
pub const LOGINS_FAILED_TOTAL: &str = "panseo_logins_failed_total";
/// Revoked tokens and people that are remembered.
pub const REVOCATIONS: &str = "panseo_revocations";
/// Attempts to read the revocations again that failed, after notices were lost; they are tried again.
pub const REVOCATIONS_RETRIES_TOTAL: &str = "panseo_revocations_retries_total";
/// Bytes of accepted imports.
pub const IMPORT_BYTES_TOTAL: &str = "panseo_import_bytes_total";
/// Bytes of accepted assets.
pub const ASSET_BYTES_TOTAL: &str = "panseo_asset_bytes_total";
/// Time to draw a picture of a board, by `kind` (`svg`, `png` or `thumbnail`).
pub const PICTURE_SECONDS: &str = "panseo_picture_duration_seconds";
/// Pictures that were not drawn, by `reason` (`busy`, `too_long`, `too_large` or `failed`).
pub const PICTURES_REFUSED_TOTAL: &str = "panseo_pictures_refused_total";

/// Edits taken.
pub const EDITS_TOTAL: &str = "panseo_edits_total";
/// Edits that went into the record of another one behind them.
pub const EDITS_JOINED_TOTAL: &str = "panseo_edits_joined_total";
/// Edits refused, by `code`.
pub const REFUSALS_TOTAL: &str = "panseo_refusals_total";
/// Edits seen before: acknowledged, not applied again.
pub const REPEATS_TOTAL: &str = "panseo_repeats_total";
/// Messages of viewers' documents that were not read.
pub const VIEWER_EDITS_TOTAL: &str = "panseo_viewer_edits_total";
/// Entries put back that their editor may not touch.
pub const PUT_BACKS_TOTAL: &str = "panseo_put_backs_total";
/// Runs of blocks handed over for another user after a crash.
pub const RELAYS_TOTAL: &str = "panseo_relays_total";
/// Lines of the audit log, by `deed` (`relayed` or `foreign_client`).
pub const AUDIT_RECORDS_TOTAL: &str = "panseo_audit_records_total";
/// Messages of sessions that were told to end, not read.
pub const LATE_MESSAGES_TOTAL: &str = "panseo_late_messages_total";
/// Awareness entries dropped: echoes, bad ones, too many.
pub const AWARENESS_DROPS_TOTAL: &str = "panseo_awareness_drops_total";
/// Readers brought level with one difference instead of a backlog.
pub const LEVELS_TOTAL: &str = "panseo_levels_total";
/// Connections ended by the server, by `code`.
pub const CLOSES_TOTAL: &str = "panseo_closes_total";
/// Inputs that kept a room for over `apply_soft_ms`.
pub const SLOW_INPUTS_TOTAL: &str = "panseo_slow_inputs_total";
/// Inputs that kept a room for so long that the node ends.
pub const STUCK_TOTAL: &str = "panseo_stuck_total";
/// Records the log did not take; they are tried again.
pub const APPENDS_FAILED_TOTAL: &str = "panseo_appends_failed_total";
/// Keyframes the store did not take.
pub const KEYFRAMES_FAILED_TOTAL: &str = "panseo_keyframes_failed_total";
/// Damaged keyframes that were passed over for older ones.
pub const KEYFRAMES_DAMAGED_TOTAL: &str = "panseo_keyframes_damaged_total";
/// Damaged entries of boards that were left out of lists.
pub const BOARDS_DAMAGED_TOTAL: &str = "panseo_boards_damaged_total";
/// Boards that were opened without a session, because their keyframe was due.
pub const KEYFRAME_ROOMS_TOTAL: &str = "panseo_keyframe_rooms_total";
/// Records that cannot be applied, left out when a board opened.
pub const RECORDS_SKIPPED_TOTAL: &str = "panseo_records_skipped_total";
/// Damaged records that boards open without.
pub const QUARANTINED_RECORDS_TOTAL: &str = "panseo_quarantined_records_total";
/// Records that the materialiser stored in PostgreSQL.
pub const MATERIALISED_RECORDS_TOTAL: &str = "panseo_materialised_records_total";
/// Records that the topic has twice: the materialiser left the second one out.
pub const MATERIALISED_REPEATS_TOTAL: &str = "panseo_materialised_repeats_total";
/// Records of boards that are deleted: the materialiser left them out.
pub const MATERIALISED_UNKNOWN_TOTAL: &str = "panseo_materialised_unknown_total";
/// Partitions that this node materialises.
pub const MATERIALISER_PARTITIONS: &str = "panseo_materialiser_partitions";
/// From the sending of a record to its being stored in PostgreSQL.
pub const MATERIALISER_DELAY_SECONDS: &str = "panseo_materialiser_delay_seconds";
/// Age of the oldest record that this node has read and not stored in PostgreSQL yet; 0 where there is none.
pub const MATERIALISER_OLDEST_SECONDS: &str = "panseo_materialiser_oldest_seconds";
/// Attempts to store records that failed; they are tried again.
pub const MATERIALISER_RETRIES_TOTAL: &str = "panseo_materialiser_retries_total";
/// Batches that another node had stored already.
pub const MATERIALISER_RIVALS_TOTAL: &str = "panseo_materialiser_rivals_total";
/// Places where the topic does not have the record that is to be stored next: somebody must look.
pub const MATERIALISER_HOLES_TOTAL: &str = "panseo_materialiser_holes_total";
/// Records that cannot be stored and were put among the dead letters: somebody must look.
pub const DLQ_TOTAL: &str = "panseo_dlq_total";
/// Boards live on this node.
pub const ROOMS: &str = "panseo_rooms";
/// Rooms that ended by a fault and were opened anew.
pub const ROOMS_POISONED_TOTAL: &str = "panseo_rooms_poisoned_total";
/// Boards that failed again and again, and are read-only: somebody must look.
pub const BOARDS_FAILING: &str = "panseo_boards_failing";
/// Bytes of records that wait for the log.
pub const PENDING_BYTES: &str = "panseo_pending_bytes";
/// Ephemeral frames and awareness states dropped because a newer one was due.
pub const RATE_DROPS_TOTAL: &str = "panseo_rate_drops_total";

/// Clients that may only look, or were refused, because the log did not say in time what is new on their board.
pub const JOINS_NOT_LEVEL_TOTAL: &str = "panseo_joins_not_level_total";
/// Changed rights of which the other nodes were not told in time; they are told later.
pub const NOTICES_LATE_TOTAL: &str = "panseo_notices_late_total";
/// Changed rights that other nodes told.
pub const NOTICES_TOTAL: &str = "panseo_notices_total";
/// What was shown to other nodes (`direction` `out`) or came from them (`in`), by `feature`.
pub const RELAYED_TOTAL: &str = "panseo_relayed_total";
/// What was not shown across nodes, by `feature` and `reason` (`queue_full`, `not_delivered`, `old`, `malformed`, `inbox_full`,
/// `unknown_sender` or `refused`).
pub const RELAY_DROPS_TOTAL: &str = "panseo_relay_drops_total";
/// Time the disk took for a batch of records, in embedded mode.
pub const LOG_WRITE_SECONDS: &str = "panseo_log_write_seconds";
/// Bytes of records read for open boards.
pub const KAFKA_READ_BYTES_TOTAL: &str = "panseo_kafka_read_bytes_total";
/// From an append to its delivery report.
pub const KAFKA_ACK_SECONDS: &str = "panseo_kafka_ack_seconds";
/// From an append to the moment its record is read from the topic.
pub const KAFKA_ROUNDTRIP_SECONDS: &str = "panseo_kafka_roundtrip_seconds";
/// Records without a delivery report.
pub const KAFKA_QUEUE_MESSAGES: &str = "panseo_kafka_queue_messages";
/// Records that the producer did not take because its queue was full; they wait.
pub const KAFKA_QUEUE_FULL_TOTAL: &str = "panseo_kafka_queue_full_total";
/// Producers that failed or stood still, and were replaced.
pub const KAFKA_FATAL_TOTAL: &str = "panseo_kafka_fatal_total";
/// Partitions that were read anew because nothing came of them though the brokers had more.
pub const KAFKA_READ_AGAIN_TOTAL: &str = "panseo_kafka_read_again_total";
/// Partitions that are read for boards open here.
pub const KAFKA_ASSIGNED_PARTITIONS: &str = "panseo_kafka_assigned_partitions";
/// Records that the brokers have and this node has not read, by `feature` and `partition`.
pub const KAFKA_LAG: &str = "panseo_kafka_lag";

/// Bounds of the histograms of durations, in seconds: from a fan-out in memory to an import.
const SECONDS_BUCKETS: [f64; 14] = [
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];

/// The filter of the log is malformed.
#[derive(Debug, Error)]
#[error("not a filter like `info` or `panseo=debug,warn`")]
pub struct FilterError;

/// Reads a filter for the log. The audit log is in it, unless the filter speaks of that itself.
pub fn filter(text: &str) -> Result<EnvFilter, FilterError> {
    let audited = if text.contains(AUDIT) {
        text.to_owned()
    } else {
        format!("{text},{AUDIT}=info")
    };
    EnvFilter::try_new(audited).map_err(|_details_take_more_than_a_line| FilterError)
}

/// Starts to log to standard error. Once for each process; later calls change nothing.
pub fn start_log(filter: EnvFilter) {
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        // It would say on standard error that a line could not be written there, and panic where that fails as well: on
        // a full disk, in the midst of whatever the line was about.
        .log_internal_errors(false)
        .finish();
    // Fails where a subscriber is set already, as in tests that start several servers.
    drop(tracing::subscriber::set_global_default(subscriber));
}

/// The metrics of this process, in the text form of Prometheus.
#[derive(Clone)]
pub struct Metrics {
    handle: Option<PrometheusHandle>,
    process: metrics_process::Collector,
}

/// Starts to record. All servers of a process share one recorder.
pub fn metrics() -> Metrics {
    static METRICS: OnceLock<Metrics> = OnceLock::new();
    METRICS.get_or_init(install).clone()
}

fn install() -> Metrics {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS_BUCKETS)
        .and_then(PrometheusBuilder::install_recorder)
        .inspect_err(|error| tracing::warn!(%error, "Metrics are off."))
        .ok();
    let process = metrics_process::Collector::default();
    process.describe();
    describe();
    begin_at_zero();
    Metrics { handle, process }
}

/// Prometheus sees no increase in a counter that appears with its first event: those of the alerts are there before.
fn begin_at_zero() {
    for name in [
        DLQ_TOTAL,
        MATERIALISER_HOLES_TOTAL,
        KAFKA_FATAL_TOTAL,
        ROOMS_POISONED_TOTAL,
        QUARANTINED_RECORDS_TOTAL,
        MATERIALISED_UNKNOWN_TOTAL,
        NOTICES_LATE_TOTAL,
    ] {
        metrics::counter!(name).increment(0);
    }
}

fn describe() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
    describe_counter!(HTTP_REQUESTS_TOTAL, "Answered HTTP requests.");
    describe_histogram!(
        HTTP_REQUEST_SECONDS,
        Unit::Seconds,
        "Time from head to answer of HTTP requests."
    );
    describe_gauge!(CONNECTIONS, "Open connections.");
    describe_counter!(
        CONNECTIONS_REFUSED_TOTAL,
        "Connections refused because there are too many."
    );
    describe_counter!(LOGINS_FAILED_TOTAL, "Log-ins with a bad token.");
    describe_gauge!(REVOCATIONS, "Revoked tokens and people that are remembered.");
    describe_counter!(
        REVOCATIONS_RETRIES_TOTAL,
        "Attempts to read the revocations again, after notices were lost, that failed; they are tried again."
    );
    describe_counter!(IMPORT_BYTES_TOTAL, Unit::Bytes, "Bytes of accepted imports.");
    describe_histogram!(
        PICTURE_SECONDS,
        Unit::Seconds,
        "Time to draw a picture of a board, by `kind`."
    );
    describe_counter!(PICTURES_REFUSED_TOTAL, "Pictures that were not drawn, by `reason`.");
    describe_histogram!(
        LOG_WRITE_SECONDS,
        Unit::Seconds,
        "Time the disk took for a batch of records, until it was durable."
    );
    describe_rooms();
    describe_materialiser();
    describe_kafka();
}

fn describe_rooms() {
    use metrics::{Unit, describe_counter, describe_gauge};
    describe_counter!(EDITS_TOTAL, "Edits taken.");
    describe_counter!(EDITS_JOINED_TOTAL, "Edits that share the record of one behind them.");
    describe_counter!(REFUSALS_TOTAL, "Edits refused, by `code`.");
    describe_counter!(REPEATS_TOTAL, "Edits seen before: acknowledged, not applied again.");
    describe_counter!(VIEWER_EDITS_TOTAL, "Messages of viewers' documents that were not read.");
    describe_counter!(PUT_BACKS_TOTAL, "Entries put back that their editor may not touch.");
    describe_counter!(
        RELAYS_TOTAL,
        "Runs of blocks handed over for another user after a crash."
    );
    describe_counter!(AUDIT_RECORDS_TOTAL, "Lines of the audit log, by `deed`.");
    describe_counter!(
        LATE_MESSAGES_TOTAL,
        "Messages of sessions that are to end and bring them again, not read."
    );
    describe_counter!(
        AWARENESS_DROPS_TOTAL,
        "Awareness entries dropped: echoes, bad ones, too many."
    );
    describe_counter!(
        LEVELS_TOTAL,
        "Readers brought level with one difference instead of a backlog."
    );
    describe_counter!(CLOSES_TOTAL, "Connections ended by the server, by `code`.");
    describe_counter!(SLOW_INPUTS_TOTAL, "Inputs that kept a room for over `apply_soft_ms`.");
    describe_counter!(STUCK_TOTAL, "Inputs that kept a room for so long that the node ends.");
    describe_counter!(
        APPENDS_FAILED_TOTAL,
        "Records the log did not take; they are tried again."
    );
    describe_counter!(KEYFRAMES_FAILED_TOTAL, "Keyframes the store did not take.");
    describe_counter!(
        KEYFRAMES_DAMAGED_TOTAL,
        "Damaged keyframes that were passed over for older ones."
    );
    describe_counter!(
        BOARDS_DAMAGED_TOTAL,
        "Damaged entries of boards that were left out of lists: `panseo verify` names them."
    );
    describe_counter!(
        KEYFRAME_ROOMS_TOTAL,
        "Boards that were opened without a session, because their keyframe was due."
    );
    describe_counter!(
        RECORDS_SKIPPED_TOTAL,
        "Records that cannot be applied, left out when a board opened."
    );
    describe_counter!(QUARANTINED_RECORDS_TOTAL, "Damaged records that boards open without.");
    describe_gauge!(ROOMS, "Boards live on this node.");
    describe_counter!(
        ROOMS_POISONED_TOTAL,
        "Rooms that ended by a fault and were opened anew."
    );
    describe_gauge!(
        BOARDS_FAILING,
        "Boards that failed again and again, and are read-only: somebody must look."
    );
    describe_gauge!(PENDING_BYTES, "Bytes of records that wait for the log.");
    describe_counter!(
        RATE_DROPS_TOTAL,
        "Ephemeral frames and awareness states dropped because a newer one was due."
    );
    describe_counter!(ASSET_BYTES_TOTAL, Unit::Bytes, "Bytes of accepted assets.");
}

fn describe_materialiser() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
    describe_counter!(
        MATERIALISED_RECORDS_TOTAL,
        "Records that the materialiser stored in PostgreSQL."
    );
    describe_counter!(
        MATERIALISED_REPEATS_TOTAL,
        "Records that the topic has twice: the materialiser left the second one out."
    );
    describe_counter!(
        MATERIALISED_UNKNOWN_TOTAL,
        "Records of boards that are deleted: the materialiser left them out."
    );
    describe_gauge!(MATERIALISER_PARTITIONS, "Partitions that this node materialises.");
    describe_histogram!(
        MATERIALISER_DELAY_SECONDS,
        Unit::Seconds,
        "From the sending of a record to its being stored in PostgreSQL."
    );
    describe_gauge!(
        MATERIALISER_OLDEST_SECONDS,
        Unit::Seconds,
        "Age of the oldest record that this node has read and not stored in PostgreSQL yet."
    );
    describe_counter!(
        MATERIALISER_RETRIES_TOTAL,
        "Attempts to store records that failed; they are tried again."
    );
    describe_counter!(
        MATERIALISER_RIVALS_TOTAL,
        "Batches that another node had stored already."
    );
    describe_counter!(
        MATERIALISER_HOLES_TOTAL,
        "Places where the topic does not have the record that is to be stored next: somebody must look."
    );
    describe_counter!(
        DLQ_TOTAL,
        "Records that cannot be stored and were put among the dead letters: somebody must look."
    );
}

fn describe_kafka() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
    describe_histogram!(
        KAFKA_ACK_SECONDS,
        Unit::Seconds,
        "From an append to its delivery report."
    );
    describe_histogram!(
        KAFKA_ROUNDTRIP_SECONDS,
        Unit::Seconds,
        "From an append to the moment its record is read from the topic."
    );
    describe_gauge!(KAFKA_QUEUE_MESSAGES, "Records without a delivery report.");
    describe_counter!(
        KAFKA_QUEUE_FULL_TOTAL,
        "Records that had to wait for a place in the producer's queue."
    );
    describe_counter!(
        JOINS_NOT_LEVEL_TOTAL,
        "Clients that may only look, or were refused, because the log did not say in time what is new on their board."
    );
    describe_counter!(
        NOTICES_LATE_TOTAL,
        "Changed rights of which the other nodes were not told in time; they are told later."
    );
    describe_counter!(NOTICES_TOTAL, "Changed rights that other nodes told.");
    describe_counter!(
        RELAYED_TOTAL,
        "What was shown to other nodes, or came from them, by `feature` and `direction`."
    );
    describe_counter!(
        RELAY_DROPS_TOTAL,
        "What was not shown across nodes, by `feature` and `reason`."
    );
    describe_counter!(
        KAFKA_READ_BYTES_TOTAL,
        "Bytes of records that the brokers sent for the boards that are open here, and others of their partitions."
    );
    describe_counter!(
        KAFKA_FATAL_TOTAL,
        "Producers that failed or stood still, and were replaced."
    );
    describe_counter!(
        KAFKA_READ_AGAIN_TOTAL,
        "Partitions that were read anew because nothing came of them though the brokers had more."
    );
    describe_gauge!(
        KAFKA_ASSIGNED_PARTITIONS,
        "Partitions that are read for boards open here."
    );
    describe_gauge!(KAFKA_LAG, "Records that the brokers have and this node has not read.");
}

impl Metrics {
    /// All metrics as they stand.
    pub fn render(&self) -> String {
        self.process.collect();
        self.handle.as_ref().map(PrometheusHandle::render).unwrap_or_default()
    }

    /// Folds what was recorded into the histograms; to be called every few seconds, so that they stay small.
    pub fn upkeep(&self) {
        if let Some(handle) = &self.handle {
            handle.run_upkeep();
        }
    }
}
