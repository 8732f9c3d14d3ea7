//! What clients send: commands, whole or in parts, as the very bytes that they came in.
//!
//! Not what a command means, nor where its keys are: that is the command table's. The hot path walks over borrowed bytes with
//! a [`CommandScanner`] and copies them once, to where they go; [`RequestDecoder`] is for who has to keep commands.
//! Start at [`CommandScanner::next`], then [`Command`].

mod command;
mod decoder;
mod inline;
mod scanner;

pub use command::{Command, CommandRef, Front, Span, Spans};
pub use decoder::{Request, RequestDecoder};
pub use scanner::{CommandFrame, CommandScanner};

#[cfg(test)]
mod tests;
