//! How the body of one message is written: the typed framing, turned into bytes.
//!
//! It decides nothing: whoever writes the head chose the framing. Start at [`BodyWriter::push`].

use bytes::Bytes;
use portcullis_http::{Fields, Framing};

use super::connection::{Connection, Shutdown};
use crate::encoder;

/// The body of one message on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyWriter {
    /// No bytes are sent, whatever is pushed: no body, or the answer to HEAD.
    Nothing,
    /// So many bytes are still owed.
    Length(u64),
    /// Chunked coding.
    Chunked,
    /// Plain bytes; the end is the end of our direction.
    UntilClose,
    /// The end was written.
    Finished,
}

impl BodyWriter {
    /// The writer for a body with this framing.
    pub(crate) const fn new(framing: Framing) -> Self {
        match framing {
            Framing::None => Self::Nothing,
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked,
            Framing::UntilClose => Self::UntilClose,
        }
    }

    /// Queues a piece. Bytes past an announced length are dropped: they would be read as the next message.
    pub(crate) fn push(&mut self, connection: &mut Connection, mut data: Bytes) {
        match self {
            Self::Nothing | Self::Finished => {}
            Self::Length(owed) => {
                let fits = usize::try_from(*owed).unwrap_or(usize::MAX).min(data.len());
                data.truncate(fits);
                *owed -= fits as u64;
                connection.output.push_data(data);
            }
            Self::Chunked if data.is_empty() => {}
            Self::Chunked => {
                let length = data.len() as u64;
                let output = &mut connection.output;
                output.push_with(|buffer| encoder::encode_chunk_header(length, buffer));
                output.push_data(data);
                output.push_with(|buffer| buffer.extend_from_slice(b"\r\n"));
            }
            Self::UntilClose => connection.output.push_data(data),
        }
    }

    /// Queues the end. The answer is whether the message is whole: `false` if an announced length was not reached.
    pub(crate) fn finish(
        &mut self,
        connection: &mut Connection,
        trailers: Option<&Fields>,
    ) -> bool {
        let whole = match self {
            Self::Nothing | Self::Finished | Self::Length(0) => true,
            Self::Length(_) => false,
            Self::Chunked => connection
                .output
                .push_with(|buffer| encoder::encode_last_chunk(trailers, buffer))
                .is_ok(),
            Self::UntilClose => {
                connection.shutdown = Shutdown::Wanted;
                true
            }
        };
        *self = Self::Finished;
        whole
    }
}
