//! Configuration as raw nodes with source positions, and the typed values read from them.
//!
//! Text becomes a tree of [`Node`]s ([`parse`]), variables in it are expanded ([`Node::expand`]), types are read from it by
//! plain serde ([`Node::read`]), and every error lands in one [`Diagnostics`]. What the keys mean belongs to the crates that
//! define the types; nothing past [`parse`] knows YAML, and nothing here reads files or the environment.
//! Start with [`load`].
//!
//! ```
//! use portcullis_config::{Diagnostics, Duration, Source, load};
//!
//! #[derive(serde::Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Block {
//!     timeout: Duration,
//! }
//!
//! let source = Source::new("portcullis.yaml", "timeout: ${TIMEOUT:-5s}\n");
//! let mut diagnostics = Diagnostics::new(&source);
//! let node = load(&source, &|_| None, &mut diagnostics).expect("valid YAML");
//! let block: Block = node.read(&mut diagnostics).expect("a valid block");
//! assert_eq!(block.timeout.to_string(), "5s");
//! ```

mod build_error;
mod diagnostics;
mod expand;
mod located;
mod node;
mod one_or_many;
mod parse;
mod read;
pub mod schema;
mod source;
mod suggest;
mod values;

use std::sync::Arc;

pub use self::build_error::BuildError;
pub use self::diagnostics::{Diagnostic, Diagnostics};
pub use self::located::Located;
pub use self::node::{Key, Node, Value};
pub use self::one_or_many::OneOrMany;
pub use self::parse::{MAX_BYTES, MAX_DEPTH, parse, parse_into};
pub use self::source::{Source, SourceId, Span};
pub use self::suggest::suggest;
pub use self::values::{
    ByteRate, ByteSize, Duration, Host, ListenAddress, ListenSocket, Network, Percent, Rate,
    Secret, TargetAddress, Timeout, ValueError,
};

/// Parses a text and expands its variables, reporting everything wrong so far. `None` only when there is no tree at all.
pub fn load(
    source: &Arc<Source>,
    lookup: &dyn Fn(&str) -> Option<String>,
    diagnostics: &mut Diagnostics,
) -> Option<Node> {
    let mut node = parse_into(source, diagnostics)?;
    node.expand(lookup, diagnostics);
    Some(node)
}
