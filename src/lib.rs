//! Panseo: the backend of a shared classroom whiteboard.
//!
//! One board is one Yjs document, owned by one room in memory; every edit becomes a record in one durable log.
//!
//! # Where to start
//!
//! Read [`protocol`] for what crosses the wire, then follow one stroke: `http/socket.rs` reads a frame, `room/task.rs`
//! hands it to [`room::Room::handle`], `room/edit.rs` judges it, [`board`] checks and applies it, `room/saving.rs`
//! sends its record to the [`log`](mod@log) and its frame into `room/ring.rs`, from where every socket pulls it.
//!
//! # Modules, in reading order
//!
//! - [`protocol`]: frames, ops, records, ids, limits, close codes. Plain data; everybody builds on it.
//! - [`board`]: the document with whiteboard meaning. The only user of the CRDT library.
//! - [`access`], [`presence`], [`interchange`], [`picture`]: roles; pointers and awareness; files of other programs;
//!   boards as SVG and PNG. Pure.
//! - [`log`](mod@log), [`store`]: the two ports, and their adapters in memory and on disk.
//! - [`materialiser`]: the log's topic into PostgreSQL, shared among the nodes of a cluster.
//! - [`room`]: a board live in memory; its task, its shared frames, and the hub that finds it.
//! - [`http`], [`server`]: the doors; start and stop.
//! - [`config`], [`telemetry`], [`cli`], [`bench`](mod@bench): settings, names of metrics, verbs, the load generator.
//!
//! Dependencies point up this list, never down; `tests/it/layering.rs` holds it so, and names the exceptions.
//!
//! # Invariants
//!
//! 1. An acknowledgement of a record means that it is durable.
//! 2. No bytes, from a client or from disk, reach the CRDT library without the walk in `board/guard.rs`.
//! 3. Everything is checked before the first write: a transaction cannot be rolled back.
//! 4. One transaction is one record and one update; what is logged is what is sent.
//! 5. Only the log, read in its order, moves position and undo stacks. Merging twice changes nothing.
//! 6. A room has no clock, no randomness and no I/O: `handle(now, input)` gives effects, its task carries them out.
//! 7. Who somebody is comes from the token. Whatever a client can fill has a bound.
//! 8. A panic ends one room, which is opened anew from what is durable; never the process.

// Empty lines keep the formatter from sorting them by name.

pub mod protocol;

pub mod board;

pub mod access;

pub mod presence;

pub mod interchange;

pub mod picture;

pub mod log;

pub mod store;

pub mod materialiser;

pub mod room;

pub mod http;

pub mod server;

pub mod config;

pub mod telemetry;

pub mod cli;

pub mod bench;
