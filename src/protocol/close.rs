//! Every close code, what it means, and whether the far end may come back.
//!
//! 44xx is final (Yjs providers do not reconnect after 4400-4499), 45xx means come back. Reasons are short fixed words,
//! never input echoed.

/// Why the server ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseCode {
    /// 1000: done.
    Done,
    /// 1003: a text frame on a binary protocol, or the other way round.
    WrongFrameKind,
    /// 1007: a text that is not UTF-8.
    BadText,
    /// 1009: message over its limit.
    TooBig,
    /// 1011: internal fault.
    Internal,
    /// 1012: the server restarts; reconnect after 1-10 s.
    Restart,
    /// 1013: busy, or the reader is too slow.
    TryLater,
    /// 4400: malformed bytes.
    Malformed,
    /// 4401: not, or no longer, authenticated.
    Unauthenticated,
    /// 4403: no right, or no longer.
    Forbidden,
    /// 4404: no such board, or it was deleted.
    NoBoard,
    /// 4409: blocks under a client id that is another user's.
    ForeignClient,
    /// 4422: the update does not fit the document's schema.
    BadShape,
    /// 4500: the board is rebuilt; reconnect after 1-3 s.
    Rebuilt,
    /// 4503: the board is still loading, or cannot be loaded now.
    Loading,
    /// 4508: the handshake took too long.
    HandshakeTimeout,
    /// 4509: what was sent builds on what the server does not have; reconnect with a fresh state vector.
    NeedsResync,
    /// 4529: too many requests; wait the seconds in the reason.
    Rate,
}

impl CloseCode {
    /// The code on the wire.
    pub fn code(self) -> u16 {
        match self {
            Self::Done => 1000,
            Self::WrongFrameKind => 1003,
            Self::BadText => 1007,
            Self::TooBig => 1009,
            Self::Internal => 1011,
            Self::Restart => 1012,
            Self::TryLater => 1013,
            Self::Malformed => 4400,
            Self::Unauthenticated => 4401,
            Self::Forbidden => 4403,
            Self::NoBoard => 4404,
            Self::ForeignClient => 4409,
            Self::BadShape => 4422,
            Self::Rebuilt => 4500,
            Self::Loading => 4503,
            Self::HandshakeTimeout => 4508,
            Self::NeedsResync => 4509,
            Self::Rate => 4529,
        }
    }

    /// Fixed words for the close frame, at most 60 bytes.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::WrongFrameKind => "wrong frame kind",
            Self::BadText => "bad UTF-8",
            Self::TooBig => "message too big",
            Self::Internal => "internal fault",
            Self::Restart => "server restarts",
            Self::TryLater => "busy or too slow",
            Self::Malformed => "malformed",
            Self::Unauthenticated => "not authenticated",
            Self::Forbidden => "forbidden",
            Self::NoBoard => "no such board",
            Self::ForeignClient => "client id belongs to another user",
            Self::BadShape => "does not fit the schema",
            Self::Rebuilt => "board is rebuilt",
            Self::Loading => "board is loading",
            Self::HandshakeTimeout => "handshake too slow",
            Self::NeedsResync => "needs resync",
            Self::Rate => "2",
        }
    }

    /// Whether the far end may connect again by itself.
    pub fn may_reconnect(self) -> bool {
        match self {
            Self::Internal
            | Self::Restart
            | Self::TryLater
            | Self::Rebuilt
            | Self::Loading
            | Self::HandshakeTimeout
            | Self::NeedsResync
            | Self::Rate => true,
            Self::Done
            | Self::WrongFrameKind
            | Self::BadText
            | Self::TooBig
            | Self::Malformed
            | Self::Unauthenticated
            | Self::Forbidden
            | Self::NoBoard
            | Self::ForeignClient
            | Self::BadShape => false,
        }
    }
}
