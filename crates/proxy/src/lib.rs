//! The seam between the gateway and its protocols: Protocol, Server, Machine, Registry.
