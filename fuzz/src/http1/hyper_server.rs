//! hyper as a server on bytes in memory: which requests it sees, and with which bodies.
//!
//! No runtime and no socket: the connection is polled by hand until it says no more. It is the reference for
//! where a body ends, not a model of strictness. Start at [`serve`].

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper::{Request, Response};

/// A request as hyper saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) body: Vec<u8>,
    /// Whether the body came to its end.
    pub(super) whole: bool,
}

/// What hyper made of a stream of requests.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) requests: Vec<Seen>,
    /// Whether it ended the connection because of what it read.
    pub(super) refused: bool,
}

/// More polls than any input of a fuzzer needs: hyper yields now and then, but never for ever.
const POLLS: usize = 10_000;

/// Serves `input`, then the end of the stream.
pub(super) fn serve(input: &[u8]) -> Served {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let io = Memory {
        input: Bytes::copy_from_slice(input),
    };
    let service = service_fn(|request: Request<Incoming>| record(request, Rc::clone(&seen)));
    let mut builder = Builder::new();
    builder
        .half_close(true)
        .header_read_timeout(None)
        .max_headers(100);
    let mut connection = pin!(builder.serve_connection(io, service));
    let mut cx = Context::from_waker(Waker::noop());
    let mut refused = false;
    for _ in 0..POLLS {
        if let Poll::Ready(end) = connection.as_mut().poll(&mut cx) {
            refused = end.is_err();
            break;
        }
    }
    let requests = seen.borrow().clone();
    Served { requests, refused }
}

async fn record(
    request: Request<Incoming>,
    seen: Rc<RefCell<Vec<Seen>>>,
) -> Result<Response<NoBody>, Infallible> {
    let index = seen.borrow().len();
    seen.borrow_mut().push(Seen {
        method: request.method().to_string(),
        target: request.uri().to_string(),
        body: Vec::new(),
        whole: false,
    });
    let mut body = request.into_body();
    loop {
        let frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        let seen = &mut seen.borrow_mut()[index];
        match frame {
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    seen.body.extend_from_slice(&data);
                }
            }
            Some(Err(_)) => break,
            None => {
                seen.whole = true;
                break;
            }
        }
    }
    Ok(Response::new(NoBody))
}

/// A response without content.
struct NoBody;

impl Body for NoBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(0)
    }
}

/// The input to read; what is written is dropped.
struct Memory {
    input: Bytes,
}

impl Read for Memory {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let length = self.input.len().min(buffer.remaining());
        buffer.put_slice(&self.input.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl Write for Memory {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
