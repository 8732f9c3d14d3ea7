//! What fails, and numbers, in the words of the one and of the other.
//!
//! Start at [`connection_error`].

use std::sync::Arc;

use h3::quic::{ConnectionErrorIncoming, StreamErrorIncoming, StreamId};
use quinn::{ConnectionError, ReadError, VarInt};

/// A number of `h3`'s as one of `quinn`'s.
pub(super) fn number(value: u64) -> VarInt {
    VarInt::from_u64(value).unwrap_or(VarInt::MAX)
}

/// A number of a stream of `quinn`'s as one of `h3`'s.
pub(super) fn stream_id(id: quinn::StreamId) -> Result<StreamId, ConnectionErrorIncoming> {
    StreamId::try_from(u64::from(id)).map_err(|_| refused())
}

/// The guard has closed the connection already, with its own code.
pub(super) fn refused() -> ConnectionErrorIncoming {
    connection_error(&ConnectionError::LocallyClosed)
}

pub(super) fn refused_stream() -> StreamErrorIncoming {
    StreamErrorIncoming::ConnectionErrorIncoming {
        connection_error: refused(),
    }
}

pub(super) fn connection_error(error: &ConnectionError) -> ConnectionErrorIncoming {
    match error {
        ConnectionError::ApplicationClosed(close) => ConnectionErrorIncoming::ApplicationClose {
            error_code: close.error_code.into(),
        },
        ConnectionError::TimedOut => ConnectionErrorIncoming::Timeout,
        other => ConnectionErrorIncoming::Undefined(Arc::new(other.clone())),
    }
}

pub(super) fn lost(error: &ConnectionError) -> StreamErrorIncoming {
    StreamErrorIncoming::ConnectionErrorIncoming {
        connection_error: connection_error(error),
    }
}

pub(super) fn unknown(
    error: impl std::error::Error + Send + Sync + 'static,
) -> StreamErrorIncoming {
    StreamErrorIncoming::Unknown(Box::new(error))
}

pub(super) fn read_error(error: ReadError) -> StreamErrorIncoming {
    match error {
        ReadError::Reset(code) => StreamErrorIncoming::StreamTerminated {
            error_code: code.into(),
        },
        ReadError::ConnectionLost(error) => lost(&error),
        other => unknown(other),
    }
}
