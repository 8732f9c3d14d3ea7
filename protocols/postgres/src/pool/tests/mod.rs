//! Tests of the pool: named cases, sequences of calls beside a model, a simulator, and real threads.
//!
//! Start at [`world`] for the model that most of them look through.

mod cases;
mod crowd;
mod guards;
mod random;
mod threads;
mod world;
