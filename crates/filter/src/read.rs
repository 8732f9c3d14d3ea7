//! What reading a protocol's part of a configuration needs besides the configuration.
//!
//! It holds no configuration itself. Start at [`ReadContext`].

use portcullis_config::{Diagnostics, Located, suggest};

/// What reading a protocol's configuration needs besides the configuration.
pub struct ReadContext<'a> {
    /// Where mistakes go.
    pub diagnostics: &'a mut Diagnostics,
    /// The names of all clusters.
    pub clusters: &'a [String],
    /// Where the block stands, such as `listeners.web`.
    pub path: &'a str,
}

impl ReadContext<'_> {
    /// Reports a cluster that does not exist, with a near miss.
    pub fn check_cluster(&mut self, name: &Located<String>) {
        if self.clusters.contains(name) {
            return;
        }
        let error = self
            .diagnostics
            .error(name.span, format!("unknown cluster '{}'", name.as_str()));
        if let Some(near) = suggest(name, self.clusters.iter().map(String::as_str)) {
            error.suggest(near);
        }
    }
}
