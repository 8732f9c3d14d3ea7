//! What is done with commands on their way to an upstream, as a worker has it for one listener.
//!
//! What there is to do is said in [`crate::config`]; the machine knows a way by its number. Start at [`Ways`].

use std::rc::Rc;
use std::sync::Arc;

use super::mirror::Mirror;
use super::server::Lead;
use super::stats::RedisStats;
use crate::config::WayConfig;
use crate::renaming::Renaming;

/// The ways of a listener: number 0 is the plain one, which is not in the list.
#[derive(Default)]
pub(super) struct Ways(Vec<Way>);

/// One of them.
pub(super) struct Way {
    config: WayConfig,
    mirror: Option<Mirror>,
}

impl Ways {
    /// The number of the way that does this. Routes that do the same have the same, so that commands can have keys of both.
    pub(super) fn add(
        &mut self,
        config: &WayConfig,
        mirror: Option<Lead>,
        stats: &Rc<RedisStats>,
    ) -> u16 {
        if *config == WayConfig::default() {
            return 0;
        }
        let known = self.0.iter().position(|way| way.config == *config);
        let index = known.unwrap_or_else(|| {
            let mirror = config.mirror.clone().zip(mirror);
            self.0.push(Way {
                config: config.clone(),
                mirror: mirror.map(|(config, lead)| Mirror::new(config, lead, Rc::clone(stats))),
            });
            self.0.len() - 1
        });
        index as u16 + 1
    }

    /// The way with this number; `None` of the plain one.
    #[inline]
    pub(super) fn find(&self, number: u16) -> Option<&Way> {
        self.0.get(usize::from(number).checked_sub(1)?)
    }

    /// Whether copies are made on any.
    pub(super) fn have_mirrors(&self) -> bool {
        self.0.iter().any(|way| way.mirror.is_some())
    }

    /// Where copies go.
    pub(super) fn leads(&self) -> impl Iterator<Item = &Lead> {
        let mirrors = self.0.iter().filter_map(Way::mirror);
        mirrors.map(|mirror| &mirror.lead)
    }
}

impl Way {
    /// What keys are called upstream.
    #[inline]
    pub(super) const fn renaming(&self) -> Option<&Arc<Renaming>> {
        self.config.renaming.as_ref()
    }

    /// Where copies go.
    pub(super) const fn mirror(&self) -> Option<&Mirror> {
        self.mirror.as_ref()
    }

    /// Whether clients share requests.
    pub(super) const fn collapses(&self) -> bool {
        self.config.collapses
    }
}
