//! The bare relay that Panseo is measured against: a room for each path, every binary message goes to all others of
//! the room as it came. It merges nothing, stores nothing and checks nothing.
//!
//! It is what axum and tokio's `broadcast` give without further work, but for the two settings that Panseo has too:
//! 4 KiB read buffers and `TCP_NODELAY`. Started by `panseo bench --compare-relay`; never part of the server.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use axum::serve::ListenerExt as _;
use bytes::Bytes;
use clap::Parser;
use futures_util::{SinkExt as _, StreamExt as _};
use parking_lot::Mutex;
use tokio::sync::broadcast;

/// Bytes of a connection's read buffer, as in Panseo.
const READ_BUFFER_BYTES: usize = 4 * 1024;

#[derive(Parser)]
#[command(about = "Bare WebSocket relay, for comparison")]
struct Args {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// Messages a slow reader may be behind before `broadcast` drops some. Their slots are reserved for each room.
    #[arg(long, default_value_t = 1_024)]
    room_messages: usize,
}

type Room = broadcast::Sender<(u64, Bytes)>;

struct Relay {
    room_messages: usize,
    rooms: Mutex<HashMap<String, Room>>,
    connections: AtomicU64,
}

impl Relay {
    fn room(&self, path: String) -> Room {
        let mut rooms = self.rooms.lock();
        rooms
            .entry(path)
            .or_insert_with(|| broadcast::channel(self.room_messages).0)
            .clone()
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let relay = Relay {
        room_messages: args.room_messages,
        rooms: Mutex::default(),
        connections: AtomicU64::new(0),
    };
    let router = Router::new()
        .route("/{*path}", get(upgrade))
        .with_state(Arc::new(relay));
    let listener = tokio::net::TcpListener::bind(args.listen).await?.tap_io(|socket| {
        // Without it a small frame waits for the peer's delayed acknowledgement; a refusal only costs speed.
        socket.set_nodelay(true).ok();
    });
    axum::serve(listener, router).await?;
    Ok(())
}

async fn upgrade(Path(path): Path<String>, State(relay): State<Arc<Relay>>, upgrade: WebSocketUpgrade) -> Response {
    let id = relay.connections.fetch_add(1, Ordering::Relaxed);
    let room = relay.room(path);
    upgrade
        .read_buffer_size(READ_BUFFER_BYTES)
        .on_upgrade(move |socket| serve(socket, id, room))
}

async fn serve(socket: WebSocket, id: u64, room: Room) {
    let (mut sink, mut stream) = socket.split();
    let mut messages = room.subscribe();
    let forward = tokio::spawn(async move {
        loop {
            match messages.recv().await {
                Ok((from, message)) => {
                    if from != id && sink.send(Message::Binary(message)).await.is_err() {
                        break;
                    }
                }
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => break,
            }
        }
    });
    while let Some(Ok(message)) = stream.next().await {
        if let Message::Binary(bytes) = message
            && room.send((id, bytes)).is_err()
        {
            break;
        }
    }
    forward.abort();
}
