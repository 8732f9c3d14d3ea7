//! The answer to `Watch`: a message for each change, until the gateway drains.
//!
//! It is asked for as much as its client takes, so changes that nobody has read yet become one. Start at [`stream`].

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use portcullis_http::stream::BodyPiece;
use portcullis_http::{Fields, LocalStream};

use super::{Readiness, ServingStatus};
use crate::GrpcStatus;

/// What a service's watcher is told. One that is not known may be in the next configuration, so its watcher stays too.
pub(super) fn stream(is_known: bool, readiness: Option<Arc<dyn Readiness>>) -> LocalStream {
    let mut watch = Watch {
        is_known,
        readiness,
        changed: None,
        said: None,
    };
    LocalStream::new(move |task| watch.poll_piece(task))
}

struct Watch {
    is_known: bool,
    readiness: Option<Arc<dyn Readiness>>,
    /// Completes when there may be something to say.
    changed: Option<Pin<Box<dyn Future<Output = ()>>>>,
    said: Option<ServingStatus>,
}

impl Watch {
    fn poll_piece(&mut self, task: &mut Context<'_>) -> Poll<BodyPiece> {
        loop {
            if let Some(changed) = &mut self.changed {
                ready!(changed.as_mut().poll(task));
            }
            // Before looking, so that no change is missed.
            let changed = self.readiness.as_ref().map(|readiness| readiness.changed());
            self.changed = Some(changed.unwrap_or_else(|| Box::pin(std::future::pending())));
            let (is_ready, is_last) = self.readiness.as_ref().map_or((true, false), |readiness| {
                (readiness.is_ready(), readiness.is_draining())
            });
            let status = if self.is_known {
                ServingStatus::of(is_ready)
            } else {
                ServingStatus::ServiceUnknown
            };
            if is_last {
                self.changed = None;
            }
            if self.said != Some(status) {
                self.said = Some(status);
                return Poll::Ready(BodyPiece::Data(status.message()));
            }
            if is_last {
                let mut trailers = Fields::new();
                GrpcStatus::Unavailable.write("the gateway drains", &mut trailers);
                return Poll::Ready(BodyPiece::Trailers(Box::new(trailers)));
            }
        }
    }
}
