//! Flows in the order in which something moved in them last: a list whose links are in the flows, so that moving one to the
//! end costs no search.
//!
//! Start at [`Order`].

use super::Flow;
use super::slots::{FlowId, Slots};

/// A flow's neighbours.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Link {
    before: Option<FlowId>,
    behind: Option<FlowId>,
}

/// Both ends of the list.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Order {
    first: Option<FlowId>,
    last: Option<FlowId>,
}

impl Order {
    /// The flow in which nothing has moved for longest.
    pub(super) const fn oldest(&self) -> Option<FlowId> {
        self.first
    }

    /// Puts a flow that is not in the list to its end.
    pub(super) fn push(&mut self, slots: &mut Slots<Flow>, id: FlowId) {
        let last = self.last.replace(id);
        if let Some(flow) = slots.get_mut(id) {
            flow.link = Link {
                before: last,
                behind: None,
            };
        }
        match last.and_then(|last| slots.get_mut(last)) {
            Some(last) => last.link.behind = Some(id),
            None => self.first = Some(id),
        }
    }

    /// Takes a flow out of the list.
    pub(super) fn remove(&mut self, slots: &mut Slots<Flow>, id: FlowId) {
        let Some(flow) = slots.get_mut(id) else {
            return;
        };
        let Link { before, behind } = std::mem::take(&mut flow.link);
        match before.and_then(|before| slots.get_mut(before)) {
            Some(flow) => flow.link.behind = behind,
            None => self.first = behind,
        }
        match behind.and_then(|behind| slots.get_mut(behind)) {
            Some(flow) => flow.link.before = before,
            None => self.last = before,
        }
    }

    /// From the oldest to the newest.
    pub(super) fn iter<'s>(&self, slots: &'s Slots<Flow>) -> impl Iterator<Item = FlowId> + 's {
        let behind = |id: &FlowId| slots.get(*id).and_then(|flow| flow.link.behind);
        std::iter::successors(self.first, behind)
    }
}
