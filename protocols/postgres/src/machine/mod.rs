//! One client's conversation with whatever server connections it gets, with the sockets taken out.
//!
//! [`relay::Relay`] is handed what both sides said and says what is to be sent to which; the session (feature `session`)
//! moves the bytes, asks the filters and gets server connections from the pool. No socket, no clock, no pool here.
//! Start at [`relay::Relay`]; [`shape`] is what a client's session begins with, [`statements`] what it has prepared.

mod client;
mod ends;
mod error;
mod flight;
mod link;
mod lost;
mod owed;
pub mod pins;
mod portals;
pub mod relay;
mod segment;
mod server;
mod setup;
pub mod shape;
pub mod statements;
mod touched;

pub use client::unknown_demand;
pub use error::RelayError;
pub use flight::Flight;
pub use link::Link;
pub use owed::Rooms;
pub use pins::Pins;
pub use relay::{Demand, Event, Mode, Relay, Setup, StatePolicy, Subject, Target, Turn, Want};
pub use server::Judge;
pub use shape::{Opening, OpeningError, Replication, Shape};
pub use statements::{Prepared, Reading, Recent, Registry, StatementLimits};
