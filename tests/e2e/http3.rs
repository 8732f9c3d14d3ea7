//! HTTP/3 on a listener: what clients get, beside HTTP/1 and HTTP/2 on the same port; a neighbour on another connection notices
//! nothing.
//!
//! Start at [`site`].

mod attacks;
mod browser;
mod life;
mod messages;
mod python;
mod versions;

use harness::{H3Client, Origin};

use crate::tls::{Running, Tls};

/// A listener with HTTP/3, and these settings of it.
pub(crate) fn site(http3: &str, origin: Origin) -> Running {
    Tls::new()
        .listener(&format!("http3: {http3}"))
        .start_with(origin)
}

/// A client of the listener `web`.
#[track_caller]
pub(crate) fn client(site: &Running) -> H3Client {
    H3Client::connect(site.addr("web"), &site.plain(), "a.test").expect("a handshake")
}

/// A client on another connection, and one by HTTP/1, have what they ask for.
#[track_caller]
pub(crate) fn others_are_well(site: &Running) {
    assert_eq!(client(site).get("/", "a.test").status, 200);
    assert_eq!(site.client("a.test").get("/", "a.test").status, 200);
}
