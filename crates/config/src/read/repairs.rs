//! What an error leads to: which value is set aside, which key is made up, and which errors are only consequences.
//!
//! It never touches the tree; the deserializer asks it what to leave out. Start with [`Repairs::settle`].

use std::collections::{HashMap, HashSet};

use super::error::{Detail, Kind, ReadError, Target, report};
use super::placeholder::Placeholder;
use crate::node::{Node, Value};
use crate::{Diagnostics, suggest};

#[derive(Debug, Default)]
pub(super) struct Repairs {
    set_aside: HashSet<Target>,
    /// Keys to make up in a block, with the number of the attempt.
    made_up: HashMap<Target, Vec<(&'static str, usize)>>,
    /// Keys that an unknown key in the block was probably meant to be.
    meant: HashMap<Target, Vec<&'static str>>,
    failed: bool,
}

impl Repairs {
    /// Whether nothing went wrong so far.
    pub(super) fn is_empty(&self) -> bool {
        !self.failed
    }

    pub(super) fn is_set_aside(&self, node: &Node) -> bool {
        self.set_aside.contains(&Target::of(node))
    }

    pub(super) fn made_up_in(&self, block: &Node) -> Vec<(&'static str, usize)> {
        self.made_up
            .get(&Target::of(block))
            .cloned()
            .unwrap_or_default()
    }

    /// Reports what is new in an error and changes what the next pass sees. `false` when there is nothing more to learn.
    pub(super) fn settle(
        &mut self,
        root: &Node,
        error: ReadError,
        diagnostics: &mut Diagnostics,
    ) -> bool {
        self.failed = true;
        let Detail { kind, span, target } = *error.0;
        // Without a place it is the type of the root itself that refused.
        let span = span.unwrap_or(root.label);
        let found = target.map_or(Some(root), |target| find(root, target));
        let Some(node) = found else {
            report(&kind, span, diagnostics);
            return false;
        };
        match kind {
            Kind::MissingKey(name) => {
                if !self.is_consequence(node, name) {
                    report(&kind, span, diagnostics);
                }
                self.make_up(root, node, name)
            }
            Kind::Placeholder(name) => self.next_attempt(root, node, name),
            Kind::UnknownKey(ref name, known) => {
                report(&kind, span, diagnostics);
                if let Some(block) = parent(root, node)
                    && let Some(near) = suggest(name, known.iter().copied())
                {
                    self.meant.entry(Target::of(block)).or_default().push(near);
                }
                self.put_aside(root, node)
            }
            // A check of the whole block that we made incomplete says nothing about what was written.
            Kind::Message(_) | Kind::Invalid { .. } if self.touches_inside(node) => {
                self.put_aside(root, node)
            }
            kind => {
                report(&kind, span, diagnostics);
                self.put_aside(root, node)
            }
        }
    }

    fn put_aside(&mut self, root: &Node, node: &Node) -> bool {
        !std::ptr::eq(root, node) && self.set_aside.insert(Target::of(node))
    }

    fn make_up(&mut self, root: &Node, block: &Node, name: &'static str) -> bool {
        let names = self.made_up.entry(Target::of(block)).or_default();
        if names.iter().any(|(known, _)| *known == name) {
            return self.put_aside(root, block);
        }
        names.push((name, 0));
        true
    }

    fn next_attempt(&mut self, root: &Node, block: &Node, name: &'static str) -> bool {
        let names = self.made_up.entry(Target::of(block)).or_default();
        for (known, attempt) in names {
            if *known == name && *attempt + 1 < Placeholder::ATTEMPTS {
                *attempt += 1;
                return true;
            }
        }
        self.put_aside(root, block)
    }

    /// Whether a key is missing only because its value was set aside, or because it was misspelled.
    fn is_consequence(&self, block: &Node, name: &str) -> bool {
        let aside = block
            .entries()
            .any(|(key, node)| key.name == name && self.is_set_aside(node));
        let meant = self.meant.get(&Target::of(block));
        aside || meant.is_some_and(|names| names.contains(&name))
    }

    /// Whether anything within a node (the node itself not counted as set aside) was repaired.
    fn touches_inside(&self, node: &Node) -> bool {
        self.made_up.contains_key(&Target::of(node))
            || children(node).any(|child| self.is_set_aside(child) || self.touches_inside(child))
    }
}

fn children(node: &Node) -> impl Iterator<Item = &Node> {
    let items = match &node.value {
        Value::Sequence(items) => items.as_slice(),
        _ => &[],
    };
    items.iter().chain(node.entries().map(|(_, child)| child))
}

fn find(node: &Node, target: Target) -> Option<&Node> {
    if Target::of(node) == target {
        return Some(node);
    }
    children(node).find_map(|child| find(child, target))
}

fn parent<'a>(node: &'a Node, wanted: &Node) -> Option<&'a Node> {
    if children(node).any(|child| std::ptr::eq(child, wanted)) {
        return Some(node);
    }
    children(node).find_map(|child| parent(child, wanted))
}
