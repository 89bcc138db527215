//! Takes connections and answers on them: limits on their number, on the size of a head and on the time it may take.
//!
//! A slot is held by the socket itself, so an upgraded connection counts until it is closed.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use crate::http::progress::Progress;
use crate::http::rates::network;
use crate::telemetry::{CONNECTIONS, CONNECTIONS_REFUSED_TOTAL};

/// Bytes of the head of a request: tokens fit, floods do not.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Fields in the head of a request.
const HEAD_FIELDS_MAX: usize = 64;
/// Time in which a head must be complete; an idle connection without one is closed by it, too.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after an accept that failed for want of file descriptors: others may give some back meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Time in which a client may go on sending after the last answer. Closing at once would reset the connection, and one that
/// is still sending a body that was refused would never read why.
const LINGER: Duration = Duration::from_secs(2);
/// Bytes that are dropped at a time meanwhile.
const DROPPED_BYTES: usize = 4 * 1024;
/// Answer where there are too many connections. It must not cost a task, so it is fixed and written once.
const TOO_MANY: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 5\r\nconnection: close\r\n\
content-type: application/problem+json\r\ncontent-length: 165\r\n\r\n\
{\"type\":\"urn:panseo:problem:too_many_requests\",\"title\":\"Too Many Requests\",\"status\":429,\
\"detail\":\"Too many connections. Try again later.\",\"code\":\"too_many_requests\"}";

/// Answer to a head that did not come in time.
const TOO_SLOW: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// Ceilings on connections.
#[derive(Debug, Clone, Copy)]
pub(super) struct ConnectionLimits {
    /// Of the node.
    pub(super) node_max: usize,
    /// Of one address that is not loopback.
    pub(super) address_max: usize,
}

/// Takes connections until `stop`; connections under way end after the request they are at.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ConnectionLimits,
    tasks: &TaskTracker,
    stop: CancellationToken,
) {
    let slots = Slots(Arc::new(Mutex::new(Counts::default())));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "A connection could not be accepted.");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        match slots.take(address.ip(), limits) {
            Ok(slot) => {
                let connection = Connection {
                    stream,
                    progress: Progress::default(),
                    lingering: None,
                    _slot: slot,
                };
                tasks.spawn(answer(connection, address, router.clone(), stop.clone()));
            }
            Err(limit) => {
                metrics::counter!(CONNECTIONS_REFUSED_TOTAL, "limit" => limit).increment(1);
                // A client that cannot even take this much learns it by the closed socket.
                drop(stream.try_write(TOO_MANY));
            }
        }
    }
}

async fn answer(connection: Connection, address: SocketAddr, router: Router, stop: CancellationToken) {
    if let Err(error) = connection.stream.set_nodelay(true) {
        tracing::debug!(%error, "A connection was gone before its first byte.");
        return;
    }
    let progress = connection.progress.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(address));
        request.extensions_mut().insert(progress.clone());
        router.clone().oneshot(request)
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(HEAD_FIELDS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(connection), service)
        .with_upgrades();
    let mut serving = serving;
    let ended = tokio::select! {
        ended = &mut serving => ended,
        () = stop.cancelled() => {
            Pin::new(&mut serving).graceful_shutdown();
            (&mut serving).await
        }
    };
    let Err(error) = ended else { return };
    tracing::debug!(%error, "A connection ended early.");
    if error.is_timeout()
        && let Some(parts) = serving.into_parts()
        && !parts.read_buf.is_empty()
    {
        // hyper leaves without a word. A client that said nothing at all was idle, and gets none.
        drop(parts.io.into_inner().stream.try_write(TOO_SLOW));
    }
}

/// How many connections there are.
#[derive(Default)]
struct Counts {
    node: usize,
    addresses: HashMap<IpAddr, usize>,
}

#[derive(Clone)]
struct Slots(Arc<Mutex<Counts>>);

impl Slots {
    fn take(&self, address: IpAddr, limits: ConnectionLimits) -> Result<Slot, &'static str> {
        let address = network(address);
        let mut counts = self.0.lock();
        if counts.node >= limits.node_max {
            return Err("node");
        }
        let of_address = counts.addresses.entry(address).or_insert(0);
        if *of_address >= limits.address_max && !address.is_loopback() {
            return Err("address");
        }
        *of_address += 1;
        counts.node += 1;
        metrics::gauge!(CONNECTIONS).increment(1.0);
        Ok(Slot {
            slots: self.clone(),
            address,
        })
    }
}

/// The place of one connection; given back when dropped.
struct Slot {
    slots: Slots,
    address: IpAddr,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut counts = self.slots.0.lock();
        counts.node -= 1;
        if let Some(of_address) = counts.addresses.get_mut(&self.address) {
            *of_address -= 1;
            if *of_address == 0 {
                counts.addresses.remove(&self.address);
            }
        }
        metrics::gauge!(CONNECTIONS).decrement(1.0);
    }
}

/// A socket that holds its slot for as long as it lives.
struct Connection {
    stream: TcpStream,
    progress: Progress,
    /// Ends the wait for the far end, once this end is closed.
    lingering: Option<Pin<Box<Sleep>>>,
    _slot: Slot,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.progress.is_given_up() {
            // Else the system holds megabytes for a reader that may never come back, long after we forgot it. A socket
            // that cannot be set so is gone already.
            drop(self.stream.set_zero_linger());
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.progress.hear(buffer.filled().len() - before);
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let taken = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes));
        self.progress.add(*taken.as_ref().unwrap_or(&0));
        Poll::Ready(taken)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let taken = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices));
        self.progress.add(*taken.as_ref().unwrap_or(&0));
        Poll::Ready(taken)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, lingering, .. } = self.get_mut();
        if lingering.is_none() {
            ready!(Pin::new(&mut *stream).poll_shutdown(cx))?;
        }
        let deadline = lingering.get_or_insert_with(|| Box::pin(sleep(LINGER)));
        let mut dropped = [0; DROPPED_BYTES];
        while deadline.as_mut().poll(cx).is_pending() {
            let mut buffer = ReadBuf::new(&mut dropped);
            let read = ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fixed_answer_declares_its_length() {
        let text = std::str::from_utf8(TOO_MANY).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("content-length: {}", body.len())),
            "{}",
            body.len()
        );
    }

    #[test]
    fn a_slot_comes_back_when_its_connection_ends() {
        let slots = Slots(Arc::default());
        let limits = ConnectionLimits {
            node_max: 2,
            address_max: 1,
        };
        let address = IpAddr::from([203, 0, 113, 9]);
        let first = slots.take(address, limits).ok().unwrap();
        assert_eq!(slots.take(address, limits).err(), Some("address"));
        drop(first);
        assert!(slots.take(address, limits).is_ok());
        assert!(slots.0.lock().addresses.is_empty());
    }
}
