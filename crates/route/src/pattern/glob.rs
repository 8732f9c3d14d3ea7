//! Globs over paths, as a bit-parallel automaton: one pass, a fixed number of operations per byte.
//!
//! Not a shell glob: no `?`, no classes, no braces; a regex is there for those. Start at [`Glob`]. The
//! same [`Step`]s describe exact and prefix patterns, so that covering is decided in one place.

use super::PatternError;

/// The most bytes a glob has besides its stars. The automaton keeps one bit per byte in a `u128`.
pub const MAX_GLOB_LENGTH: usize = 120;

/// One step of a path pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Step {
    /// This byte.
    Byte(u8),
    /// `*` next to other bytes: any bytes but `/`, also none.
    Within,
    /// `*` as a whole segment: at least one byte, none of them `/`.
    Segment,
    /// `**`: any bytes, also none.
    Across,
    /// `**/` after a `/`: any number of whole segments, also none.
    Segments,
    /// `/*` at the end: nothing more, or a `/` and anything.
    Rest,
}

/// A compiled list of steps.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Glob {
    steps: Box<[Step]>,
    /// From each byte to its entry in `masks`; 0 is the empty mask.
    classes: Box<[u8; 256]>,
    /// The states that this byte leads one further.
    masks: Vec<u128>,
    /// States that stay on any byte.
    loop_any: u128,
    /// States that stay on any byte but `/`.
    loop_within: u128,
    /// States that any byte but `/` leads one further.
    advance_within: u128,
    /// States from which, when a byte of the pattern led there, the next is reached as well.
    skip: u128,
    accept: u128,
}

impl Glob {
    /// Splits `text` into steps: see [`Step`].
    pub(super) fn parse(text: &str) -> Result<Self, PatternError> {
        let steps = steps(text)?;
        Self::compile(steps).ok_or_else(|| {
            PatternError::new(format!(
                "a path with `*` inside has at most {MAX_GLOB_LENGTH} other bytes; use a regex (~) instead"
            ))
        })
    }

    fn compile(steps: Vec<Step>) -> Option<Self> {
        let mut glob = Self {
            steps: Box::default(),
            classes: Box::new([0; 256]),
            masks: vec![0],
            loop_any: 0,
            loop_within: 0,
            advance_within: 0,
            skip: 0,
            accept: 0,
        };
        let mut state = 0;
        for step in &steps {
            let here = bit(state)?;
            match step {
                Step::Byte(byte) => {
                    glob.add_byte(*byte, here)?;
                    state += 1;
                }
                Step::Within => glob.loop_within |= here,
                Step::Segment => {
                    glob.advance_within |= here;
                    state += 1;
                    glob.loop_within |= bit(state)?;
                }
                Step::Across => glob.loop_any |= here,
                Step::Segments => {
                    glob.loop_any |= here;
                    glob.skip |= here;
                    glob.add_byte(b'/', here)?;
                    state += 1;
                }
                Step::Rest => {
                    glob.accept |= here;
                    glob.add_byte(b'/', here)?;
                    state += 1;
                    glob.loop_any |= bit(state)?;
                }
            }
        }
        glob.accept |= bit(state)?;
        glob.steps = steps.into();
        Some(glob)
    }

    fn add_byte(&mut self, byte: u8, state: u128) -> Option<()> {
        let class = self.classes.get_mut(usize::from(byte))?;
        if *class == 0 {
            *class = u8::try_from(self.masks.len()).ok()?;
            self.masks.push(0);
        }
        *self.masks.get_mut(usize::from(*class))? |= state;
        Some(())
    }

    pub(super) fn matches(&self, path: &[u8]) -> bool {
        let mut states = 1_u128;
        for &byte in path {
            states = self.advance(states, byte);
            if states == 0 {
                return false;
            }
        }
        states & self.accept != 0
    }

    /// Every state that `byte` leads to from one of `states`.
    fn advance(&self, states: u128, byte: u8) -> u128 {
        let class = self.classes.get(usize::from(byte)).copied().unwrap_or(0);
        let mask = self.masks.get(usize::from(class)).copied().unwrap_or(0);
        let mut next = (states & mask) << 1;
        next |= (next & self.skip) << 1;
        next |= states & self.loop_any;
        if byte != b'/' {
            next |= states & self.loop_within;
            next |= (states & self.advance_within) << 1;
        }
        next
    }

    pub(super) fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// True only when every path that `steps` describe is certainly matched.
    ///
    /// Walks `steps` as if they were a path. Over a star of the other pattern only those states are kept
    /// that stand whatever the star's bytes are; fewer states accept less, so a yes is always right.
    pub(super) fn covers(&self, steps: &[Step]) -> bool {
        let mut states = 1_u128;
        for (index, step) in steps.iter().enumerate() {
            let stays = states & (self.loop_any | self.loop_within);
            states = match step {
                Step::Byte(byte) => self.advance(states, *byte),
                Step::Within => stays,
                Step::Segment => stays | ((states & self.advance_within) << 1 & self.loops()),
                Step::Across => states & self.loop_any,
                // Zero segments keep all states; one or more end in a `/`.
                Step::Segments => states & self.advance(states & self.loop_any, b'/'),
                Step::Rest => {
                    let below = self.advance(states, b'/') & self.loop_any;
                    debug_assert_eq!(index + 1, steps.len());
                    return states & self.accept != 0 && below & self.accept != 0;
                }
            };
        }
        states & self.accept != 0
    }

    fn loops(&self) -> u128 {
        self.loop_any | self.loop_within
    }
}

/// The bit of a state; `None` past the bound, which leaves room for one more shift.
fn bit(state: usize) -> Option<u128> {
    (state <= MAX_GLOB_LENGTH).then(|| 1 << state)
}

/// Cuts the text at its stars.
fn steps(text: &str) -> Result<Vec<Step>, PatternError> {
    let (text, open) = match text.strip_suffix("/*") {
        Some(text) => (text, true),
        None => (text, false),
    };
    let mut steps = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let opens_segment =
            steps.last() == Some(&Step::Byte(b'/')) || steps.last() == Some(&Step::Segments);
        let (step, after) = match (byte, after) {
            (b'*', [b'*', b'*', ..]) => {
                return Err(PatternError::new(
                    "three stars in a row mean nothing: write * or **",
                ));
            }
            (b'*', [b'*', b'/', after @ ..]) if opens_segment => (Step::Segments, after),
            (b'*', [b'*', after @ ..]) => (Step::Across, after),
            (b'*', [] | [b'/', ..]) if opens_segment => (Step::Segment, after),
            (b'*', _) => (Step::Within, after),
            _ => (Step::Byte(byte), after),
        };
        // `**/**/` says no more than `**/`, and the automaton skips one step at a time.
        if (steps.last(), step) != (Some(&Step::Segments), Step::Segments) {
            steps.push(step);
        }
        rest = after;
    }
    if open {
        steps.push(Step::Rest);
    }
    Ok(steps)
}
