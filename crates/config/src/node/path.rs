//! Finding a node by the path that messages use, such as `listeners.web.filters[0].rate`.
//!
//! It is no query language: names and list positions only. Start with [`Node::find`].

use super::Node;

impl Node {
    /// The node at a path; `None` when the path leads nowhere. A key that holds dots is matched as a whole.
    pub fn find(&self, path: &str) -> Option<&Self> {
        let (node, rest) = self.nearest(path);
        rest.is_empty().then_some(node)
    }

    /// The deepest node on the way to a path, and what remained of the path there.
    pub fn nearest<'a>(&self, path: &'a str) -> (&Self, &'a str) {
        let mut node = self;
        let mut rest = path;
        while let Some((child, remaining)) = node.step(rest) {
            node = child;
            rest = remaining;
        }
        (node, rest)
    }

    fn step<'a>(&self, path: &'a str) -> Option<(&Self, &'a str)> {
        if let Some(index) = path.strip_prefix('[') {
            let (index, rest) = index.split_once(']')?;
            let item = self.as_sequence()?.get(index.parse::<usize>().ok()?)?;
            return Some((item, rest.strip_prefix('.').unwrap_or(rest)));
        }
        self.entries()
            .filter_map(|(key, node)| Some((key, node, after(path, &key.name)?)))
            .max_by_key(|(key, ..)| key.name.len())
            .map(|(_, node, rest)| (node, rest))
    }
}

/// What follows `name` in `path`, if `path` begins with all of that segment.
fn after<'a>(path: &'a str, name: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(name).filter(|_| !name.is_empty())?;
    match rest.chars().next() {
        None | Some('[') => Some(rest),
        Some('.') => rest.get(1..),
        Some(_) => None,
    }
}
