//! HTTP/2: frame codec, guard and session, downstream and upstream.
