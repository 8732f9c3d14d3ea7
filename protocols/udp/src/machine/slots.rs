//! Places for values that come and go, with names that are never given twice.
//!
//! Start at [`Slots`].

/// The name of a flow. That of a flow that is over names nothing, also when another is in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlowId {
    index: u32,
    generation: u32,
}

impl FlowId {
    /// A place that no other flow has at the same time, below the most that there were.
    #[must_use]
    pub const fn index(self) -> usize {
        self.index as usize
    }
}

/// Places for values.
#[derive(Debug)]
pub(super) struct Slots<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Place<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Slots<T> {
    pub(super) fn insert(&mut self, value: T) -> FlowId {
        let free = self.free.pop();
        let index = free.unwrap_or_else(|| {
            self.places.push(Place {
                generation: 0,
                value: None,
            });
            self.places.len() as u32 - 1
        });
        let mut generation = 0;
        if let Some(place) = self.places.get_mut(index as usize) {
            place.value = Some(value);
            generation = place.generation;
        }
        FlowId { index, generation }
    }

    pub(super) fn get(&self, id: FlowId) -> Option<&T> {
        let place = self.places.get(id.index())?;
        place
            .value
            .as_ref()
            .filter(|_| place.generation == id.generation)
    }

    pub(super) fn get_mut(&mut self, id: FlowId) -> Option<&mut T> {
        let place = self.places.get_mut(id.index())?;
        let generation = place.generation;
        place.value.as_mut().filter(|_| generation == id.generation)
    }

    pub(super) fn remove(&mut self, id: FlowId) -> Option<T> {
        let place = self.places.get_mut(id.index())?;
        if place.generation != id.generation {
            return None;
        }
        let value = place.value.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(id.index);
        Some(value)
    }
}
