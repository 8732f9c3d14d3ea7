//! Pools: who gets which server connection, and when one is opened or closed.
//!
//! A pool is the bookkeeping of one (cluster, endpoint, database, user), exact for the whole process and first come, first
//! served. It never looks at a connection, opens none and closes none: it says who may, and holds by value what is idle.
//! There is no clock, no timer and no runtime; time and randomness come in. What a connection's state must be before it is
//! given back is the session's business.
//!
//! Start at [`SharedPool`], which is what sessions use: [`SharedPool::checkout`] gives a [`Held`] connection or a
//! [`Waiting`] place. [`PoolCore`] is the same without the lock. What the numbers mean is in `POOL.md`.

mod backoff;
mod book;
mod idle;
mod lease;
mod limits;
mod queue;
mod reason;
mod shared;
#[cfg(test)]
mod tests;

pub use book::{
    After, Cancelled, Checkout, Grant, Leased, PoolCore, PoolSnapshot, PoolState, Swept, Totals,
};
pub use lease::{Affinity, Lease, OpenTicket, Patience};
pub use limits::{ConnectBackoff, PoolLimits};
pub use queue::Ticket;
pub use reason::{CloseReason, OpenFailure, Refusal};
pub use shared::{Acquired, Held, Offer, Opening, SharedPool, Upkeep, Waiting};
