//! A WebSocket client that does as little as it can: frames are prepared ahead, received ones are read in place.
//!
//! Client frames carry a mask of zeros, which is valid and makes the prepared bytes the bytes on the wire. Only for
//! loopback and for servers we trust: the accept key is not checked, fragments are refused.

use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// Bytes first set aside for what a connection receives; small, because the idle scenario holds 10,000 of them.
const BUFFER_BYTES: usize = 2 * 1024;
/// Bytes read at once when much arrives.
const READ_BYTES: usize = 32 * 1024;

/// A frame, ready for the socket.
pub(super) fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    const MASKED: u8 = 0x80;
    let mut bytes = Vec::with_capacity(payload.len() + 14);
    bytes.push(0x80 | opcode);
    match payload.len() {
        length @ 0..=125 => bytes.push(MASKED | length.to_le_bytes()[0]),
        length @ 126..=0xffff => {
            bytes.push(MASKED | 0x7e);
            bytes.extend_from_slice(&length.to_be_bytes()[6..]);
        }
        length => {
            bytes.push(MASKED | 0x7f);
            bytes.extend_from_slice(&length.to_be_bytes());
        }
    }
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(payload);
    bytes
}

/// A binary message, ready for the socket.
pub(super) fn binary(payload: &[u8]) -> Vec<u8> {
    frame(2, payload)
}

/// What a server sends.
pub(super) enum Incoming<'a> {
    Message(&'a [u8]),
    Ping(&'a [u8]),
    Close(u16),
    Other,
}

/// The receiving half.
pub(super) struct Receiver {
    socket: OwnedReadHalf,
    buffer: Vec<u8>,
    start: usize,
}

impl Receiver {
    /// Waits for more bytes; `false` at the end of the connection.
    pub(super) async fn fill(&mut self) -> bool {
        if self.start == self.buffer.len() {
            self.buffer.clear();
        } else {
            self.buffer.drain(..self.start);
        }
        self.start = 0;
        // An idle connection must not hold a large buffer: grow only once something arrives.
        if self.socket.readable().await.is_err() {
            return false;
        }
        if self.buffer.capacity() - self.buffer.len() < BUFFER_BYTES {
            self.buffer.reserve(READ_BYTES);
        }
        matches!(self.socket.read_buf(&mut self.buffer).await, Ok(length) if length > 0)
    }

    /// Waits for the next whole frame; `None` at the end of the connection.
    pub(super) async fn next_or_end(&mut self) -> Option<Incoming<'_>> {
        while self.extent().is_none() {
            if !self.fill().await {
                return None;
            }
        }
        self.next()
    }

    /// Start and end of the payload of the next frame, if all of it has arrived.
    fn extent(&self) -> Option<(usize, usize)> {
        let bytes = &self.buffer[self.start..];
        let (head, length) = match *bytes.get(1)? & 0x7f {
            126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
            127 => (
                10,
                usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?,
            ),
            short => (2, usize::from(short)),
        };
        (bytes.len() >= head + length).then_some((self.start + head, self.start + head + length))
    }

    /// The next whole frame that has arrived.
    pub(super) fn next(&mut self) -> Option<Incoming<'_>> {
        let (begin, end) = self.extent()?;
        let first = self.buffer[self.start];
        self.start = end;
        let payload = &self.buffer[begin..end];
        Some(match first {
            0x81 | 0x82 => Incoming::Message(payload),
            0x89 => Incoming::Ping(payload),
            0x88 => Incoming::Close(
                payload
                    .get(..2)
                    .map_or(1005, |code| u16::from_be_bytes([code[0], code[1]])),
            ),
            _ => Incoming::Other,
        })
    }
}

/// The sending half.
pub(super) struct Sender(OwnedWriteHalf);

impl Sender {
    /// Writes prepared frames.
    pub(super) async fn send(&mut self, frames: &[u8]) -> anyhow::Result<()> {
        self.0.write_all(frames).await.context("the server closed a connection")
    }
}

/// Opens a WebSocket.
pub(super) async fn connect(
    address: SocketAddr,
    path: &str,
    protocol: Option<&str>,
) -> anyhow::Result<(Sender, Receiver)> {
    let mut socket = TcpStream::connect(address).await.context("cannot connect")?;
    socket.set_nodelay(true)?;
    let protocol = protocol.map_or_else(String::new, |name| format!("Sec-WebSocket-Protocol: {name}\r\n"));
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: cGFuc2VvLWxvYWQtMDAwMA==\r\n{protocol}\r\n"
    );
    socket.write_all(request.as_bytes()).await?;
    let mut buffer = Vec::with_capacity(512);
    let start = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if socket.read_buf(&mut buffer).await? == 0 {
            bail!("the server closed the connection during the upgrade");
        }
    };
    if !buffer.starts_with(b"HTTP/1.1 101") {
        let line = buffer.split(|byte| *byte == b'\r').next().unwrap_or_default();
        bail!("the server refused {path}: {}", String::from_utf8_lossy(line));
    }
    let (socket, writer) = socket.into_split();
    Ok((Sender(writer), Receiver { socket, buffer, start }))
}
