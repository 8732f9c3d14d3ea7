//! A client's conversation and an upstream connection's, with the sockets and the clock taken out.
//!
//! It decides what each command becomes, keeps the replies that a client is owed in order, and puts the parts of one
//! command together. Where keys live and how bytes travel is behind [`Upstreams`], which the session and the tests
//! implement. Start at [`Client::admit`] and [`Client::execute`]; [`Pipeline`] is the other side.
//!
//! ```text
//! Client::execute ──► Upstreams::send(wire, ticket) ──► Pipeline::expect … Pipeline::on_bytes
//!        ▲                                                                     │
//!        └── Client::on_piece(ticket, piece): slots in order, merges ◄─────────┘
//! ```

mod assembly;
mod client;
pub(crate) mod elements;
mod pipeline;
mod slots;
mod upstreams;

pub use assembly::{Assembly, How, Named};
pub use client::{Client, Flow, Front, Here, Policy, Refusal, copies, node_id};
pub use pipeline::{Delivery, Pipeline, PipelineError, RunReply, Waiting};
pub use slots::{ErrorPrefix, Finished, SlotId, Slots};
pub use upstreams::{
    Call, Destination, Destinations, Lost, Piece, PinEnd, PinId, Purpose, Sent, Speaks, Ticket,
    Upstreams,
};
