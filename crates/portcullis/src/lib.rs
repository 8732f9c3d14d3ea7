//! The Portcullis gateway as a library, for its own binary and tests.
//!
//! This is the only crate that names protocols, and the control side of the gateway: it reads the configuration,
//! starts workers, reloads, drains, checks health and serves the admin address. It moves no traffic: that is what
//! the protocols do, on the workers.
//!
//! Start at [`main_with_args`] for the command line, [`protocols::registry`] for what is in the binary,
//! [`load`] for how a file becomes a [`model::Model`], and [`gateway`] for how a model is run.

mod admin;
pub mod cli;
mod commands;
#[cfg(feature = "demo")]
mod demo;
pub mod gateway;
mod http;
#[cfg_attr(not(feature = "http3"), path = "http3_absent.rs")]
mod http3;
mod limits;
pub mod load;
pub mod logs;
pub mod model;
pub mod protocols;
#[cfg(feature = "quic")]
mod quic;
pub mod schema;
mod upstreams;

pub use commands::main_with_args;
