//! The filters that every protocol shares. They speak of facts and connections, never of messages.
//!
//! Not the filters of one protocol: those live with it. Start at [`RateLimit`]; a protocol adds each to its
//! registry by name.

mod access;
mod concurrency;
pub mod fault;
mod rate_limit;

pub use access::{Allow, ClientsConfig, Deny, check_lists, is_named};
pub use concurrency::{Concurrency, ConcurrencyConfig};
pub use fault::{Fault, Faults};
pub use rate_limit::{RateLimit, RateLimitConfig};

use portcullis_config::{Diagnostics, Located, Node, suggest};

use crate::facts::{Facts, resolve};

/// Reports every name that is no fact of the protocol, with a near miss.
fn check_facts<M: Facts>(names: &[Located<String>], _node: &Node, diagnostics: &mut Diagnostics) {
    for name in names {
        let Err(error) = resolve::<M>(name) else {
            continue;
        };
        let known = error.known.join(", ");
        let diagnostic = diagnostics
            .error(name.span, error.to_string())
            .expected(format!("one of {known}"));
        if let Some(near) = suggest(name, error.known.iter().copied()) {
            diagnostic.suggest(near);
        }
    }
}
