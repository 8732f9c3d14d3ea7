//! What a Redis Cluster says of itself: who has which slot, where a command is to go instead, and when to ask again.
//!
//! As the specification of Redis Cluster has it ("Redirection and resharding", "Client first connection and handling of
//! redirections"). It connects to nobody and follows nothing; who does so decides whom to believe. The slot of a key is
//! [`crate::hash::slot()`]'s.
//!
//! Start at [`SlotMap`], then [`ClusterError`] and [`RefreshPolicy`].

mod moves;
mod node;
mod redirect;
mod refresh;
mod slot_map;

pub use moves::Moves;
pub use node::NodeAddress;
pub use redirect::{ClusterError, Redirect, RedirectKind};
pub use refresh::{RefreshPolicy, RefreshTimes};
pub use slot_map::{MOST_NODES, MapError, SlotMap};
