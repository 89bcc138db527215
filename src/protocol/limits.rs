//! Every ceiling, with its unit and reason. All can be set in the `[limits]` table of the configuration file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Depth of nesting in JSON, MessagePack and Yjs `Any` values. The CRDT library recurses on them and 16 KB of nesting
/// ended the process in a probe.
pub const VALUE_DEPTH_MAX: usize = 32;
/// Depth of shared types in the document.
pub const TYPE_DEPTH_MAX: usize = 16;
/// End clock of a client id: the CRDT library counts in 32 bits.
pub const CLOCK_MAX: u32 = i32::MAX as u32;
/// Client ids are whole numbers that JavaScript can hold.
pub const CLIENT_ID_MAX: u64 = 1 << 53;
/// Clients in one update: more than a class makes while offline.
pub const UPDATE_CLIENTS_MAX: usize = 256;
/// Blocks in one update.
pub const UPDATE_BLOCKS_MAX: usize = 65_536;
/// Entries of a state vector.
pub const STATE_VECTOR_CLIENTS_MAX: usize = 65_536;
/// Bytes of a key `pos`: some thousand elements put at one spot, each between the last two, make keys of that length.
pub const POS_BYTES_MAX: usize = 1024;
/// Bytes of one string or binary in an update.
pub const ITEM_BYTES_MAX: usize = 256 * 1024;
/// Length of one run of deleted or collected blocks that has no content to show for it.
pub const DELETED_RUN_MAX: u32 = 100_000;
/// Bytes of one record in the log.
pub const RECORD_BYTES_MAX: usize = 12 * 1024 * 1024;
/// Bytes of `changes` in a record; above, they are left out and the step cannot be undone.
pub const CHANGES_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Steps of undo kept for each user of a board.
pub const UNDO_STEPS_MAX: usize = 100;
/// Bytes of undo kept for each user of a board; the newest step is always kept.
pub const UNDO_BYTES_MAX: usize = 256 * 1024;
/// Recent changes kept to complete what another node had not seen.
pub const WINDOW_CHANGES_MAX: usize = 2_000;
/// Bytes of them: two records of the largest changes there are; every keyframe carries them.
pub const WINDOW_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes that ops, an undo or a restore write at once: with `changes` they fit a record.
pub const WRITE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes that are put back behind one update: with the largest update and `changes` they fit a record.
pub const PUT_BACK_BYTES_MAX: usize = 1024 * 1024;
/// Elements in one record of an import: other edits get in between.
pub const IMPORT_ELEMENTS_MAX: usize = 500;
/// Bytes of elements in one record of an import, unless one alone is larger.
pub const IMPORT_BYTES_MAX: usize = 1024 * 1024;

/// Ceilings that an operator may set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of an `op` frame.
    pub op_bytes_max: usize,
    /// Bytes of an `update` frame or of a message on the Yjs door.
    pub update_bytes_max: usize,
    /// Bytes of the first sync step 2 or update of a connection: what was drawn offline.
    pub first_update_bytes_max: usize,
    /// Bytes of a POST body.
    pub body_bytes_max: usize,
    /// Bytes of an imported file.
    pub import_bytes_max: usize,
    /// Bytes of an asset.
    pub asset_bytes_max: usize,
    /// Bytes of a document, encoded.
    pub document_bytes_max: usize,
    /// Elements on a board, deleted ones included.
    pub elements_max: usize,
    /// Client ids in a document.
    pub document_clients_max: usize,
    /// Bytes of one awareness entry.
    pub awareness_bytes_max: usize,
    /// Awareness entries of one connection.
    pub awareness_entries_max: usize,
    /// Awareness entries on a board.
    pub awareness_board_max: usize,
    /// Updates and ops a second for one connection; above, its socket is read more slowly. 0 = no limit.
    pub updates_per_second: u32,
    /// Updates and ops that may come at once.
    pub updates_burst: u32,
    /// Ephemeral frames a second for one connection; the newest counts. 0 = no limit.
    pub ephemeral_per_second: u32,
    /// Bytes a second for one connection; above, its socket is read more slowly. 0 = no limit.
    pub bytes_per_second: u32,
    /// Bytes that may come at once.
    pub bytes_burst: u32,
    /// Malformed op frames in 10 s before the connection is closed.
    pub malformed_max: u32,
    /// Connections of one user (not of `guest`).
    pub connections_user_max: usize,
    /// Connections of one address; a school is one.
    pub connections_address_max: usize,
    /// Connections of this node.
    pub connections_node_max: usize,
    /// Boards one user has open.
    pub boards_user_max: usize,
    /// Joins of one user in a minute (not of `guest`). 0 = no limit.
    pub joins_per_minute: u32,
    /// Failed log-ins of one address in a minute. 0 = no limit.
    pub failed_logins_per_minute: u32,
    /// Frames a session may be behind before it is brought level with one state difference.
    pub ring_frames_max: usize,
    /// Bytes a session may be behind before that.
    pub unsent_bytes_max: usize,
    /// Inputs waiting for a room.
    pub inbox_max: usize,
    /// Bytes of records that wait for the log, for each board; above, edits are refused as `busy`., [R-83]
    pub pending_bytes_board_max: usize,
    /// Bytes of records that wait for the log, for the node.
    pub pending_bytes_node_max: usize,
    /// Milliseconds between pings.
    pub ping_interval_ms: u64,
    /// Milliseconds without a frame after which a peer counts as dead.
    pub idle_timeout_ms: u64,
    /// Milliseconds from the upgrade to the first message.
    pub handshake_timeout_ms: u64,
    /// Milliseconds in which a socket takes nothing before it is closed.
    pub write_stall_ms: u64,
    /// Milliseconds between frames of ephemeral states.
    pub tick_ms: u64,
    /// Milliseconds an empty room stays open.
    pub room_idle_ms: u64,
    /// Milliseconds one input may keep a room before that is worth a line in the log.
    pub apply_soft_ms: u64,
    /// Milliseconds one input may keep a room; above, the node drains and ends, for its supervisor to start it again.
    pub apply_hard_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            op_bytes_max: 128 * 1024,
            update_bytes_max: 1024 * 1024,
            first_update_bytes_max: 8 * 1024 * 1024,
            body_bytes_max: 1024 * 1024,
            import_bytes_max: 64 * 1024 * 1024,
            asset_bytes_max: 10 * 1024 * 1024,
            document_bytes_max: 64 * 1024 * 1024,
            elements_max: 50_000,
            document_clients_max: 50_000,
            awareness_bytes_max: 8 * 1024,
            awareness_entries_max: 1,
            awareness_board_max: 1_000,
            updates_per_second: 120,
            updates_burst: 480,
            ephemeral_per_second: 30,
            bytes_per_second: 512 * 1024,
            bytes_burst: 8 * 1024 * 1024,
            malformed_max: 20,
            connections_user_max: 20,
            connections_address_max: 2_000,
            connections_node_max: 20_000,
            boards_user_max: 16,
            joins_per_minute: 30,
            failed_logins_per_minute: 20,
            ring_frames_max: 1_024,
            unsent_bytes_max: 512 * 1024,
            inbox_max: 4_096,
            pending_bytes_board_max: 8 * 1024 * 1024,
            pending_bytes_node_max: 256 * 1024 * 1024,
            ping_interval_ms: 20_000,
            idle_timeout_ms: 45_000,
            handshake_timeout_ms: 10_000,
            write_stall_ms: 20_000,
            tick_ms: 33,
            room_idle_ms: 30_000,
            apply_soft_ms: 250,
            apply_hard_ms: 5_000,
        }
    }
}
