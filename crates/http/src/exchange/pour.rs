//! A body that a filter makes piece by piece, on its way to a client that stays for it.
//!
//! Filters that see data see its pieces, as they see an upstream's. Not a relay: nothing goes the other way. Start at
//! [`Exchange::pour`].

use std::future::poll_fn;
use std::task::{Context, Poll};

use super::relay::{Intercept, Progress};
use super::{Exchange, Halt};
use crate::message::LocalStream;
use crate::stream::BodyPiece;

impl Exchange<'_> {
    /// Passes on what comes, to its end. The head is queued. The error is the reason why the stream must be closed.
    pub(super) async fn pour(&mut self, stream: &LocalStream) -> Result<(), &'static str> {
        let route = self.route.clone();
        if let Some(route) = &route {
            // The answer has begun, so a deadline that cannot be read is none.
            let _ = self.settle_call(route);
        }
        let seen = route.filter(|route| Intercept::of(&route.chain).response);
        let mut progress = Progress::new(self.downstream.now());
        loop {
            let piece = poll_fn(|task| self.poll_pour(stream, &mut progress, task)).await;
            self.catch_up();
            let piece = match piece {
                Ok(piece) => piece,
                Err(reason) => {
                    self.record.reason = Some(reason);
                    return Box::pin(self.end_call(reason, None)).await;
                }
            };
            let is_last = !matches!(piece, BodyPiece::Data(_));
            let passed = if let Some(route) = &seen {
                self.filter_download(route, piece).await
            } else {
                self.forward_download(piece);
                Ok(())
            };
            match passed {
                Ok(()) if is_last => return self.flush().await,
                Ok(()) => {}
                Err(Halt::Abort(reason)) => return Box::pin(self.end_call(reason, None)).await,
                Err(Halt::Reply(reply) | Halt::ReplyAndClose(reply)) => {
                    let reason = reply.reason.unwrap_or("response_replaced");
                    return Box::pin(self.end_call(reason, Some(reply))).await;
                }
            }
        }
    }

    /// The next piece once the client has room for it; the reason if it is gone, or time is over. That nothing comes is no
    /// stall; that it is not taken is one.
    fn poll_pour(
        &mut self,
        stream: &LocalStream,
        progress: &mut Progress,
        task: &mut Context<'_>,
    ) -> Poll<Result<BodyPiece, &'static str>> {
        let flushed = self.downstream.poll_flush(task);
        if let Poll::Ready(Err(_)) = flushed {
            return Poll::Ready(Err("downstream_closed"));
        }
        if self.upload.read && self.downstream.poll_gone(task).is_ready() {
            return Poll::Ready(Err("downstream_closed"));
        }
        if !self.downstream.is_full()
            && let Poll::Ready(piece) = stream.poll_piece(task)
        {
            return Poll::Ready(Ok(piece));
        }
        let now = self.downstream.now();
        progress.update(self.downstream.bytes_sent(), now);
        if flushed.is_ready() {
            progress.at = now;
        }
        let stalled = flushed
            .is_pending()
            .then(|| {
                progress
                    .at
                    .checked_add(self.service.timeouts().body_progress())
            })
            .flatten();
        let deadline = [self.deadline, stalled].into_iter().flatten().min();
        self.downstream.poll_deadline(task, deadline).map(|()| {
            Err(if deadline == stalled {
                "downstream_stalled"
            } else {
                "request_timeout"
            })
        })
    }
}
