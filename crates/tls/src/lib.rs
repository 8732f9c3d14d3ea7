//! The TLS ClientHello: a pure codec for routing without termination.
