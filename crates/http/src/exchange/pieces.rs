//! Bodies as filters see them: piece by piece on the way, or collected before anything is sent.
//!
//! Nothing is moved here: pieces come from the relay and go back to it. Start at [`Exchange::filter_upload`].

use std::future::poll_fn;
use std::task::Poll;

use bytes::{Bytes, BytesMut};

use super::relay::{Fault, Intercept, Relay};
use super::{Exchange, Halt};
use crate::head::{ResponseHead, Status};
use crate::message::Data;
use crate::name::KnownField;
use crate::route::Route;
use crate::stream::BodyPiece;

impl Exchange<'_> {
    /// Shows a piece of the request to the filters that asked for it, then sends it on.
    pub(super) async fn filter_upload(
        &mut self,
        route: &Route,
        relay: &mut Relay<'_>,
        piece: BodyPiece,
    ) -> Result<(), Halt> {
        let (mut data, last) = opened(piece);
        self.filter_request_data(route, &mut data, last).await?;
        for piece in closed(data, last) {
            self.forward_upload(relay.upstream, piece);
        }
        Ok(())
    }

    async fn filter_request_data(
        &mut self,
        route: &Route,
        data: &mut Data,
        last: bool,
    ) -> Result<(), Halt> {
        let service = self.service;
        let asked = route
            .chain
            .on_request_data(data, last, self.cx, &*service.environment.timer)
            .await;
        self.catch_up();
        asked.map_err(|stop| self.stopped(stop))
    }

    /// Shows a piece of the response to the filters that asked for it, then sends it on.
    pub(super) async fn filter_download(
        &mut self,
        route: &Route,
        piece: BodyPiece,
    ) -> Result<(), Halt> {
        let service = self.service;
        let (mut data, last) = opened(piece);
        let asked = route
            .chain
            .on_response_data(&mut data, last, self.cx, &*service.environment.timer)
            .await;
        self.catch_up();
        asked.map_err(|stop| self.stopped(stop))?;
        for piece in closed(data, last) {
            self.forward_download(piece);
        }
        Ok(())
    }

    /// Collects the whole body where a filter asked for it.
    pub(super) async fn collect_body(&mut self, route: &Route) -> Result<(), Halt> {
        let Some(limit) = self.record.request.collect_body else {
            return Ok(());
        };
        if self.upload.read {
            return Ok(());
        }
        self.upload.limit = self.upload.limit.min(limit);
        if self.record.request.head.fields.remove(KnownField::Expect) {
            let go_on = ResponseHead::new(Status::CONTINUE);
            self.pass_interim(go_on)?;
            self.flush().await.map_err(Halt::Abort)?;
        }
        let mut body = BytesMut::new();
        let stall = self.service.timeouts().body_progress();
        while !self.upload.read {
            let deadline = self.cx.now.checked_add(stall);
            let piece = poll_fn(|task| match self.downstream.poll_body(task) {
                Poll::Ready(piece) => Poll::Ready(piece.map_err(Fault::Downstream)),
                Poll::Pending => self
                    .downstream
                    .poll_deadline(task, deadline)
                    .map(|()| Err(Fault::Deadline)),
            })
            .await;
            self.catch_up();
            let counted = piece.and_then(|mut piece| self.count_upload(&mut piece).map(|()| piece));
            match counted {
                Ok(BodyPiece::Data(data)) => body.extend_from_slice(&data),
                Ok(BodyPiece::Trailers(_) | BodyPiece::End) => {}
                Err(fault) => return Err(self.collect_failed(fault)),
            }
        }
        let mut data = Data {
            bytes: body.freeze(),
            trailers: None,
        };
        if Intercept::of(&route.chain).request {
            self.filter_request_data(route, &mut data, true).await?;
        }
        self.collected = Some(data.bytes);
        Ok(())
    }

    fn collect_failed(&mut self, fault: Fault) -> Halt {
        let (status, reason) = match fault {
            Fault::Downstream(error) => return self.downstream_failed(error),
            Fault::TooLarge => (Status::CONTENT_TOO_LARGE, "body_too_large"),
            Fault::Deadline | Fault::Upstream(_) => (Status::REQUEST_TIMEOUT, "body_timeout"),
        };
        Halt::ReplyAndClose(Box::new(self.local_reply(status, reason)))
    }
}

/// A piece as filters see it, and whether it is the last.
fn opened(piece: BodyPiece) -> (Data, bool) {
    let (bytes, trailers, last) = match piece {
        BodyPiece::Data(bytes) => (bytes, None, false),
        BodyPiece::Trailers(trailers) => (Bytes::new(), Some(trailers), true),
        BodyPiece::End => (Bytes::new(), None, true),
    };
    (Data { bytes, trailers }, last)
}

/// What filters left of a piece, as it goes on.
fn closed(data: Data, last: bool) -> impl Iterator<Item = BodyPiece> {
    let bytes = (!data.bytes.is_empty()).then_some(BodyPiece::Data(data.bytes));
    let end = last.then(|| data.trailers.map_or(BodyPiece::End, BodyPiece::Trailers));
    [bytes, end].into_iter().flatten()
}
