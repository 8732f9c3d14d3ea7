//! What is asked of endpoints: connections that requests share.
//!
//! A [pool](pool_of) of each cluster on each worker, whose links (`link`) are connections, which have their driver (`driver`) and
//! carry streams (`stream`). How a connection comes about is in `dial`. Start at [`pool_of`].

mod check;
mod dial;
mod driver;
mod link;
mod pool;
mod request;
mod response;
mod socket;
mod stream;

use portcullis_http::head::Status;
use portcullis_http::stream::StreamError;

use super::quic::Role;
use crate::frames::{GuardLimits, SectionKind};

pub use check::{CheckFailed, check};
pub use pool::{Pool, pool_of};

/// What an endpoint's streams are to us.
fn role() -> Role {
    Role {
        receives: SectionKind::Response,
        limits: GuardLimits::default(),
    }
}

/// The status that a response which is no HTTP is answered with.
const fn bad_gateway(label: &'static str) -> StreamError {
    StreamError::Protocol {
        label,
        status: Status::BAD_GATEWAY,
    }
}
