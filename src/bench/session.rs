//! One connection of the generator: joining by each door, and reading what arrives.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde_bytes::Bytes;
use tokio::sync::Mutex;
use uuid::Uuid;

use super::args::Door;
use super::content::{EMPTY_UPDATE, EMPTY_VECTOR, y_message};
use super::process::Target;
use super::walk::Reader;
use super::wire::{self, Incoming, Receiver, Sender};
use crate::protocol::{ClientFrame, Hello};

/// Time a server has for the answer to a handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_mins(1);

/// The parts of a server frame of `panseo.v1` that the generator looks at, borrowed from the message.
#[derive(Deserialize)]
pub(super) struct FrameView<'a> {
    #[serde(borrow)]
    pub(super) t: &'a str,
    #[serde(default)]
    pub(super) seq: Option<u64>,
    #[serde(default, borrow)]
    pub(super) update: Option<&'a Bytes>,
    #[serde(default, borrow)]
    pub(super) states: Vec<StateView<'a>>,
    #[serde(default, borrow)]
    pub(super) code: Option<&'a str>,
}

/// One ephemeral state of such a frame.
#[derive(Deserialize)]
pub(super) struct StateView<'a> {
    #[serde(borrow)]
    pub(super) user: &'a str,
    #[serde(borrow)]
    pub(super) kind: &'a str,
    #[serde(default)]
    pub(super) data: Option<PointerView>,
}

/// Place of a pointer; `x` counts the moves of its author.
#[derive(Deserialize)]
pub(super) struct PointerView {
    #[serde(default)]
    pub(super) x: Option<u64>,
}

/// What a message brings, whatever door it came by.
pub(super) enum News<'a> {
    /// A Yjs update; `true` where it answers a handshake.
    Update(&'a [u8], bool),
    /// An awareness update.
    Awareness(&'a [u8]),
    /// The server's sync step 1.
    Question,
    /// A frame of the own door.
    Frame(FrameView<'a>),
    /// Nothing the generator looks at.
    Other,
}

/// Reads one message; `None` if it makes no sense.
pub(super) fn read(door: Door, message: &[u8]) -> Option<News<'_>> {
    if door == Door::Own {
        return rmp_serde::from_slice(message).ok().map(News::Frame);
    }
    let mut reader = Reader(message);
    Some(match (reader.byte()?, reader.0.first()) {
        (0, Some(0)) => News::Question,
        (0, Some(kind @ (1 | 2))) => {
            reader.byte()?;
            News::Update(reader.blob()?, *kind == 1)
        }
        (1, _) => News::Awareness(reader.blob()?),
        _ => News::Other,
    })
}

/// A joined client.
pub(super) struct Client {
    pub(super) sender: Arc<Mutex<Sender>>,
    pub(super) receiver: Receiver,
    /// The document as the server handed it over, where the door does so at once.
    pub(super) document: Vec<u8>,
}

/// Connects and goes through the handshake of the door.
pub(super) async fn join(target: &Target, door: Door, board: &str, user: &str) -> anyhow::Result<Client> {
    let handshake = async {
        let (path, protocol) = match door {
            Door::Yjs | Door::Relay => (format!("/yjs/{board}?user={user}"), None),
            Door::Own => (format!("/v1/boards/{board}/ws?user={user}"), Some("panseo.v1.msgpack")),
        };
        let (mut sender, mut receiver) = wire::connect(target.address, &path, protocol).await?;
        let document = match door {
            Door::Relay => Vec::new(),
            Door::Yjs => greet_yjs(&mut sender, &mut receiver).await?,
            Door::Own => greet_own(&mut sender, &mut receiver).await?,
        };
        Ok(Client {
            sender: Arc::new(Mutex::new(sender)),
            receiver,
            document,
        })
    };
    tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake)
        .await
        .context("the handshake took too long")?
}

async fn greet_yjs(sender: &mut Sender, receiver: &mut Receiver) -> anyhow::Result<Vec<u8>> {
    sender.send(&wire::binary(&y_message(&[0, 0], &EMPTY_VECTOR))).await?;
    let mut asked = false;
    let document = loop {
        match receiver.next_or_end().await {
            Some(Incoming::Message(message)) => match read(Door::Yjs, message).context("undecodable y message")? {
                News::Update(update, true) => break update.to_vec(),
                News::Question => asked = true,
                News::Update(..) | News::Awareness(_) | News::Frame(_) | News::Other => {}
            },
            Some(Incoming::Close(code)) => bail!("closed with {code} during the handshake"),
            Some(Incoming::Ping(_) | Incoming::Other) => {}
            None => bail!("the connection ended during the handshake"),
        }
    };
    if asked {
        sender.send(&answer()).await?;
    }
    Ok(document)
}

/// Answer to the server's sync step 1: the generator has nothing of its own.
pub(super) fn answer() -> Vec<u8> {
    wire::binary(&y_message(&[0, 1], &EMPTY_UPDATE))
}

async fn greet_own(sender: &mut Sender, receiver: &mut Receiver) -> anyhow::Result<Vec<u8>> {
    let hello = ClientFrame::Hello(Hello {
        client: Uuid::now_v7(),
        token: None,
        user: None,
        document: true,
        vector: None,
    });
    sender.send(&wire::binary(&rmp_serde::to_vec_named(&hello)?)).await?;
    loop {
        match receiver.next_or_end().await {
            Some(Incoming::Message(message)) => {
                if let Some(News::Frame(frame)) = read(Door::Own, message) {
                    match (frame.t, frame.code) {
                        ("welcome", _) => return Ok(Vec::new()),
                        ("error", code) => bail!("refused: {}", code.unwrap_or("no code")),
                        _ => {}
                    }
                }
            }
            Some(Incoming::Close(code)) => bail!("closed with {code} during the handshake"),
            Some(Incoming::Ping(_) | Incoming::Other) => {}
            None => bail!("the connection ended during the handshake"),
        }
    }
}
