//! What a copy of a command is made of, for a place that has keys elsewhere: the same parts, but for nobody who waits.
//!
//! Start at [`copies`].

use std::borrow::Cow;

use super::forward::{NoPlace, place};
use super::parts::Parts;
use super::way::Outgoing;
use crate::command::handling::{Handling, Merge, Pin, Split};
use crate::machine::upstreams::{Call, Destination, Lost, Upstreams};

/// Where a part of a command goes, and its bytes.
type Copy<'a> = (Destination, Cow<'a, [u8]>);

/// The parts of a command, and where each goes by `up`, which is asked for places only. None of commands that are a client's own
/// matter, or that only read and go to all.
///
/// # Errors
/// A part has no single place.
pub fn copies<'a>(call: &Call<'a>, up: &mut impl Upstreams) -> Result<Vec<Copy<'a>>, Lost> {
    let whole = |to: Destination, up: &mut _| {
        let outgoing = Outgoing::new(to.way, call, &call.command, up)?;
        Ok((to, outgoing.wire))
    };
    match call.id.handling() {
        Handling::Forward | Handling::Pin(Pin::Blocking) => match place(call, up) {
            Ok(to) => Ok(vec![whole(to, up)?]),
            Err(NoPlace::Lost(lost)) => Err(lost),
            Err(NoPlace::Answer(_)) => Err(Lost::NoEndpoint),
        },
        Handling::Split(split) => {
            let step = if split == Split::Pairs { 2 } else { 1 };
            let parts = Parts::new(call, step, up)?;
            if let [only] = &*parts.targets {
                return Ok(vec![whole(*only, up)?]);
            }
            let wires = parts.wires(call, step, up)?;
            let wires = wires.into_iter().map(|wire| Cow::Owned(wire.to_vec()));
            Ok(parts.targets.iter().copied().zip(wires).collect())
        }
        Handling::FanOut(scope, Merge::Same) => {
            let targets = up.everywhere(call, scope)?;
            targets.into_iter().map(|to| whole(to, up)).collect()
        }
        Handling::FanOut(..) | Handling::Local(_) | Handling::Pin(_) => Ok(Vec::new()),
    }
}
