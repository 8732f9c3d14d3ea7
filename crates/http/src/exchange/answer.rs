//! An answer to a request that becomes no exchange: one that is refused by its head.
//!
//! What is refused, and how one is reset that gets no answer, each version says. Start at [`answer`].

use std::future::poll_fn;
use std::task::Poll;

use crate::framing::Framing;
use crate::message::{Response, ResponseBody};
use crate::service::HttpService;
use crate::stream::DownstreamStream;

/// Sends the answer of [`HttpService::refuse`], within the time that a body may stand still.
pub async fn answer(service: &HttpService, stream: &mut impl DownstreamStream, response: Response) {
    let ResponseBody::Local(body) = response.body else {
        return;
    };
    let framing = Framing::Length(body.len() as u64);
    if stream.send_head(&response.head, framing, false).is_err() {
        return;
    }
    stream.send_data(body);
    stream.send_end(None);
    let deadline = service
        .now()
        .checked_add(service.timeouts().body_progress());
    poll_fn(|task| match stream.poll_flush(task) {
        Poll::Ready(_) => Poll::Ready(()),
        Poll::Pending => stream.poll_deadline(task, deadline),
    })
    .await;
}
