//! State that all workers share: limits are exact for the process.
//!
//! Not a global: one store belongs to the running gateway and is handed to whoever builds filters. It keeps weak
//! references, so state lives exactly as long as a filter uses it, and survives a reload that changes nothing
//! about it. Start at [`SharedStore::of`].

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// State shared by the filters of all workers, found by key.
#[derive(Default)]
pub struct SharedStore {
    entries: Mutex<HashMap<String, Weak<dyn Any + Send + Sync>>>,
    services: Mutex<HashMap<TypeId, Box<dyn Any + Send + Sync>>>,
}

impl SharedStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The state under `key`, made now if no filter holds it. The key must name everything that `make` depends
    /// on: the filter's place and its settings. `make` runs while the store is locked: it must be quick, and not ask the store.
    pub fn of<T: Send + Sync + 'static>(&self, key: String, make: impl FnOnce() -> T) -> Arc<T> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(live) = entries.get(&key).and_then(Weak::upgrade)
            && let Ok(state) = live.downcast::<T>()
        {
            return state;
        }
        entries.retain(|_, entry| entry.strong_count() > 0);
        let state = Arc::new(make());
        let erased: Arc<dyn Any + Send + Sync> = Arc::<T>::clone(&state);
        entries.insert(key, Arc::downgrade(&erased));
        state
    }

    /// All state of this type that something holds, with its key: for whoever shows it, in the order of keys.
    #[must_use]
    pub fn all<T: Send + Sync + 'static>(&self) -> Vec<(String, Arc<T>)> {
        let live = |(key, entry): (&String, &Weak<_>)| Some((key.clone(), Weak::upgrade(entry)?));
        let live: Vec<(String, Arc<dyn Any + Send + Sync>)> = {
            let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
            entries.iter().filter_map(live).collect()
        };
        // Out of the lock, since the last of something may go here.
        let typed = live.into_iter();
        let typed = typed.filter_map(|(key, state)| Some((key, state.downcast::<T>().ok()?)));
        let mut all: Vec<_> = typed.collect();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all
    }
}

impl SharedStore {
    /// Makes a service of the process, such as its log files, known to filters by its type.
    pub fn provide<T: Clone + Send + Sync + 'static>(&self, service: T) {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        services.insert(TypeId::of::<T>(), Box::new(service));
    }

    /// The service of this type, if the process has one.
    #[must_use]
    pub fn service<T: Clone + Send + Sync + 'static>(&self) -> Option<T> {
        let services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        services
            .get(&TypeId::of::<T>())?
            .downcast_ref::<T>()
            .cloned()
    }
}

impl std::fmt::Debug for SharedStore {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("SharedStore")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_held_is_found_by_its_type() {
        let store = SharedStore::new();
        let one = store.of("b".to_owned(), || 1_u32);
        let _two = store.of("a".to_owned(), || 2_u32);
        let _other = store.of("c".to_owned(), || "text".to_owned());
        let all = |store: &SharedStore| {
            let all = store.all::<u32>().into_iter();
            all.map(|(key, state)| (key, *state)).collect::<Vec<_>>()
        };
        assert_eq!(all(&store), [("a".to_owned(), 2), ("b".to_owned(), 1)]);
        drop(one);
        assert_eq!(all(&store), [("a".to_owned(), 2)]);
    }
}
