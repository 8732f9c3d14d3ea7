//! A command whose keys are at several places, taken apart: what each place is sent.
//!
//! Start at [`Parts::new`].

use std::collections::HashMap;

use bytes::BytesMut;
use foldhash::fast::RandomState;
use smallvec::SmallVec;

use super::way;
use crate::encoder;
use crate::machine::upstreams::{Call, Destination, Lost, Upstreams};
use crate::request::CommandRef;

/// Which keys of a command go where.
pub(super) struct Parts {
    pub(super) targets: SmallVec<[Destination; 4]>,
    /// How many keys go to each.
    counts: SmallVec<[u32; 4]>,
    /// For each key its target, and its place among the keys there.
    pub(super) places: SmallVec<[(u32, u32); 8]>,
}

/// So many targets are looked through for each key; more are found by hashing. A Redis Cluster has thousands of slots.
const FEW: usize = 16;

impl Parts {
    pub(super) fn new(call: &Call<'_>, step: usize, up: &mut impl Upstreams) -> Result<Self, Lost> {
        let mut targets: SmallVec<[Destination; 4]> = SmallVec::new();
        let mut counts: SmallVec<[u32; 4]> = SmallVec::new();
        let mut places = SmallVec::new();
        let mut numbers: HashMap<Destination, usize, RandomState> = HashMap::default();
        for key in call.command.arguments().skip(1).step_by(step) {
            let to = up.locate(call, key)?;
            let target = if targets.len() <= FEW {
                targets.iter().position(|known| *known == to)
            } else {
                numbers.get(&to).copied()
            };
            let target = target.unwrap_or_else(|| {
                targets.push(to);
                counts.push(0);
                if targets.len() > FEW {
                    let seen = targets.iter().copied().zip(0..).skip(numbers.len());
                    numbers.extend(seen);
                }
                targets.len() - 1
            });
            let Some(count) = counts.get_mut(target) else {
                continue;
            };
            places.push((target as u32, *count));
            *count += 1;
        }
        Ok(Self {
            targets,
            counts,
            places,
        })
    }

    /// The command of each target.
    pub(super) fn wires(
        &self,
        call: &Call<'_>,
        step: usize,
        up: &impl Upstreams,
    ) -> Result<Vec<BytesMut>, Lost> {
        let ways = self.targets.iter().map(|to| way::renaming(to.way, up));
        let renamings: SmallVec<[_; 4]> = ways.collect();
        let counts = self.counts.iter().map(|count| *count as usize);
        let mut wires: Vec<BytesMut> = counts
            .map(|count| {
                let mut wire = BytesMut::new();
                encoder::array(1 + count * step, &mut wire);
                encoder::bulk(call.command.name(), &mut wire);
                wire
            })
            .collect();
        for (key, (target, _)) in self.places.iter().enumerate() {
            let target = *target as usize;
            if let (Some(wire), Some(renaming)) = (wires.get_mut(target), renamings.get(target)) {
                let first = 1 + key * step;
                let key = call.command.argument(first).unwrap_or_default();
                match renaming {
                    None => encoder::bulk(key, wire),
                    Some(renaming) => encoder::bulk(&renaming.upstream(key)?, wire),
                }
                append(call.command, first + 1, step - 1, wire);
            }
        }
        Ok(wires)
    }
}

fn append(command: CommandRef<'_>, first: usize, count: usize, wire: &mut BytesMut) {
    for index in first..first + count {
        encoder::bulk(command.argument(index).unwrap_or_default(), wire);
    }
}
