//! HTTP/2 over real connections: the downstream session and the upstream connections.
//!
//! `h2` drives the frames, with the guard between it and the socket. What a request means is `portcullis-http`'s.
//! Here is only what HTTP/2 is between the three: one connection, many streams. Start at [`io`] for how bytes pass.

mod fields;
mod io;
