//! The picture of keys of a listener, common to its workers, and the page that shows it.
//!
//! One command of [`SAMPLED`] is shown to it, and every large one, so that it costs next to nothing. Start at [`Keys::sample`].

use std::cell::Cell;
use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use portcullis_filter::{Random, SharedStore};
use portcullis_proxy::{AdminAnswer, of_listeners};
use serde_json::{Value, json};
use smallvec::SmallVec;

use crate::command::{Arguments, CommandId, keys};
use crate::sketch::KeySketch;

/// Of so many commands one is shown.
const SAMPLED: u32 = 64;

/// A command with so many bytes is always shown.
const LARGE: usize = 16 << 10;

/// What all workers have seen.
#[derive(Debug, Default)]
pub(super) struct Sketch(Mutex<KeySketch>);

/// One worker's way to it.
pub(super) struct Keys {
    sketch: Arc<Sketch>,
    random: Rc<Random>,
    /// Commands until one is shown.
    left: Cell<u32>,
}

impl Keys {
    pub(super) const fn new(sketch: Arc<Sketch>, random: Rc<Random>) -> Self {
        Self {
            sketch,
            random,
            left: Cell::new(0),
        }
    }

    /// The first key of a command, if it is to be shown when it is over.
    #[inline]
    pub(super) fn sample<A: Arguments>(
        &self,
        id: CommandId,
        command: &A,
        bytes: usize,
    ) -> Option<Box<[u8]>> {
        match self.left.get().checked_sub(1) {
            Some(left) if bytes < LARGE => {
                self.left.set(left);
                None
            }
            left => self.show(left, id, command),
        }
    }

    /// As [`sample`](Self::sample), of one that is to be shown. `left`: it is because it is large.
    #[cold]
    fn show<A: Arguments>(
        &self,
        left: Option<u32>,
        id: CommandId,
        command: &A,
    ) -> Option<Box<[u8]>> {
        // At random, since commands come in patterns.
        let random = || (self.random.next() % u64::from(2 * SAMPLED - 1)) as u32;
        self.left.set(left.unwrap_or_else(random));
        let mut found = SmallVec::new();
        keys(id, command, &mut found).ok()?;
        let first = command.at(*found.first()? as usize)?;
        Some(first.into())
    }

    /// A command that was sampled is over.
    #[cold]
    pub(super) fn on_command(&self, key: &[u8], bytes: u64) {
        let mut sketch = self.sketch.0.lock().unwrap_or_else(PoisonError::into_inner);
        sketch.record(key, bytes);
    }
}

/// The page of keys.
pub(super) fn page(shared: &SharedStore, is_json: bool) -> AdminAnswer {
    let all: Vec<_> = of_listeners::<Sketch>(shared)
        .into_iter()
        .map(|(name, sketch)| {
            let sketch = sketch.0.lock().unwrap_or_else(PoisonError::into_inner);
            (name, sketch.hot(), sketch.big())
        })
        .collect();
    if is_json {
        let lists = all.iter().map(|(name, hot, big)| {
            let hot: Vec<Value> = hot
                .iter()
                .map(|it| json!({ "key": it.key.escape_ascii().to_string(), "sampled": it.count, "error": it.error }))
                .collect();
            let big: Vec<Value> = big
                .iter()
                .map(|it| json!({ "key": it.key.escape_ascii().to_string(), "bytes": it.bytes }))
                .collect();
            json!({ "of": name, "hot": hot, "big": big })
        });
        return AdminAnswer::Json(
            json!({ "sampled_of": SAMPLED, "keys": lists.collect::<Vec<_>>() }),
        );
    }
    let mut text = String::new();
    for (name, hot, big) in all {
        // Writing to a string does not fail.
        let _ = writeln!(text, "# {name}: hot (one command of {SAMPLED})");
        for it in hot {
            let _ = writeln!(
                text,
                "{:>10} {:>10} {}",
                it.count,
                it.error,
                it.key.escape_ascii()
            );
        }
        let _ = writeln!(text, "# {name}: big (bytes)");
        for it in big {
            let _ = writeln!(text, "{:>10} {}", it.bytes, it.key.escape_ascii());
        }
    }
    AdminAnswer::Text(text)
}
