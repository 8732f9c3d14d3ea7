//! Reading for a task that asks often and alone: the runtime is told whom to wake once for each time that something comes.
//!
//! Start at [`Stream::poll_read_again`].

use std::io;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::Interest;
use tokio::task::coop::has_budget_remaining;

use super::{Stream, is_not_now};

impl Stream {
    /// As [`poll_read_at_most`](Self::poll_read_at_most), for a task that asks often and alone. `waits` says that it was told to
    /// wait when it last asked, and is kept by this: the runtime still knows then whom to wake, and is not told again as long
    /// as nothing has come. Begin with `false`, also after anybody else has read or waited, and for a stream that has changed
    /// its worker.
    ///
    /// # Errors
    /// As [`poll_read`](Self::poll_read).
    pub fn poll_read_again(
        &mut self,
        cx: &mut Context<'_>,
        dst: &mut BytesMut,
        limit: usize,
        waits: &mut bool,
    ) -> Poll<io::Result<usize>> {
        // TLS may hold what the socket does not show.
        if !self.is_encrypted() {
            let nothing = self.try_io(Interest::READABLE, || Ok(())).is_err();
            if nothing && *waits {
                return Poll::Pending;
            }
            if !nothing {
                let read = self.receive_into(dst, limit);
                if !is_not_now(&read) {
                    *waits = false;
                    return Poll::Ready(read);
                }
            }
        }
        let polled = self.poll_read_at_most(cx, dst, limit);
        // A task that has used up its budget is to come again, and the socket was not asked.
        *waits = polled.is_pending() && has_budget_remaining();
        polled
    }
}
