//! What a route does with commands on their way: keys renamed, reads elsewhere, copies to another cluster, requests shared.
//!
//! Start at [`WayKeys`] for the keys as they are written, [`WayConfig`] for what is left of them once they are checked.

use std::num::NonZeroU32;
use std::sync::Arc;

use portcullis_config::{Located, Percent, Span};
use portcullis_filter::ReadContext;
use schemars::JsonSchema;
use serde::Deserialize;

use super::RouteConfig;
use crate::command::{Categories, CommandId, Flags, Foreign};
use crate::renaming::Renaming;

/// The longest prefix, in bytes: it is sent with every key.
const LONGEST_PREFIX: usize = 512;

/// What is done with commands on their way. Routes with the same share a way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WayConfig {
    /// What keys are called upstream.
    pub renaming: Option<Arc<Renaming>>,
    /// Where copies go.
    pub mirror: Option<MirrorConfig>,
    /// Whether clients that ask for the same at the same time share one request.
    pub collapses: bool,
}

/// Where copies of commands go, whose replies nobody waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorConfig {
    /// The cluster.
    pub cluster: String,
    /// The share of commands.
    pub percent: Percent,
    /// Which commands.
    pub commands: MirrorCommands,
    /// Copies under way on each worker before more are dropped.
    pub pending: u32,
}

/// Which commands are copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MirrorCommands {
    /// Those that may change data, scripts among them: the other cluster has what this one has.
    #[default]
    Writes,
    /// Those that only read.
    Reads,
    /// Both.
    All,
}

impl MirrorCommands {
    /// Whether this command is one of them.
    #[must_use]
    pub fn takes(self, command: CommandId) -> bool {
        match self {
            Self::Writes => may_write(command),
            Self::Reads => command.flags().contains(Flags::READONLY),
            Self::All => command.flags().contains(Flags::READONLY) || may_write(command),
        }
    }

    /// The same of a command that is not in the table. What does not only read may write.
    #[must_use]
    pub const fn takes_foreign(self, foreign: &Foreign) -> bool {
        let only_reads = foreign.flags.contains(Flags::READONLY);
        match self {
            Self::Writes => !only_reads,
            Self::Reads => only_reads,
            Self::All => true,
        }
    }
}

fn may_write(command: CommandId) -> bool {
    let flags = command.flags();
    let is_script = command.categories().contains(Categories::SCRIPTING);
    flags.contains(Flags::WRITE) || (is_script && !flags.contains(Flags::READONLY))
}

/// The keys of a route that say what is done on the way.
#[derive(Debug, Clone, Copy)]
pub(super) struct WayKeys<'a> {
    pub(super) key: Option<&'a Located<KeyRule>>,
    pub(super) read_cluster: Option<&'a Located<String>>,
    pub(super) mirror: Option<&'a MirrorRule>,
    pub(super) collapse: bool,
}

/// What keys are called upstream.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct KeyRule {
    /// What is taken off the front of each key; a key that does not begin with it is refused.
    strip_prefix: String,
    /// What is put in front of each key.
    add_prefix: String,
    /// Whether scripts and functions are let through. Default false: keys that they make up reach anything.
    allow_scripts: bool,
}

/// Another cluster that is sent copies.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MirrorRule {
    /// The cluster. Its replies are dropped; clients never wait for it.
    cluster: Located<String>,
    /// The share of commands that is copied. Default 100%.
    #[serde(default = "all")]
    percent: Percent,
    /// Which: `writes`, `reads` or `all`. Default `writes`.
    #[serde(default)]
    commands: MirrorCommands,
    /// Copies under way on each worker before more are dropped. Default 1024: what a mirror that stalls may cost.
    #[serde(default = "default_pending")]
    pending: NonZeroU32,
}

const fn all() -> Percent {
    Percent::ALL
}

const fn default_pending() -> NonZeroU32 {
    const { NonZeroU32::new(1024).unwrap() }
}

impl WayKeys<'_> {
    /// What is done on the way, and where reads go. Mistakes are reported.
    pub(super) fn read(
        self,
        cluster: &str,
        cx: &mut ReadContext<'_>,
    ) -> (WayConfig, Option<String>) {
        if let Some(reads) = self.read_cluster {
            cx.check_cluster(reads);
        }
        let renaming = self.key.map(|rule| rule.value.read(rule.span, cx));
        let mirror = self.mirror.map(|rule| {
            cx.check_cluster(&rule.cluster);
            if rule.cluster.value == cluster {
                cx.diagnostics
                    .error(rule.cluster.span, "copies would go where commands go")
                    .help("the cluster would carry out everything twice");
            }
            rule.config()
        });
        let way = WayConfig {
            renaming: renaming.map(Arc::new),
            mirror,
            collapses: self.collapse,
        };
        (way, self.read_cluster.map(|reads| reads.value.clone()))
    }
}

impl MirrorRule {
    fn config(&self) -> MirrorConfig {
        MirrorConfig {
            cluster: self.cluster.value.clone(),
            percent: self.percent,
            commands: self.commands,
            pending: self.pending.get(),
        }
    }
}

impl KeyRule {
    fn read(&self, span: Span, cx: &mut ReadContext<'_>) -> Renaming {
        if self.strip_prefix == self.add_prefix {
            cx.diagnostics
                .error(span, "keys would be called upstream as they are here")
                .expected("`strip_prefix`, `add_prefix` or both");
        }
        if self.strip_prefix.len().max(self.add_prefix.len()) > LONGEST_PREFIX {
            cx.diagnostics.error(
                span,
                format!("a prefix is longer than {LONGEST_PREFIX} bytes"),
            );
        }
        Renaming {
            strip: self.strip_prefix.as_bytes().into(),
            add: self.add_prefix.as_bytes().into(),
            allows_scripts: self.allow_scripts,
        }
    }
}

/// One route, as the check of its prefix sees it.
pub(super) struct Prefixed<'a> {
    pub(super) span: Span,
    pub(super) clusters: [&'a str; 2],
    pub(super) renaming: &'a Renaming,
}

/// Reports prefixes of which one is the start of another in the same cluster: whoever has the shorter would reach the keys of
/// the other.
pub(super) fn check_prefixes(routes: &[Prefixed<'_>], cx: &mut ReadContext<'_>) {
    for (index, route) in routes.iter().enumerate() {
        let wider = routes.iter().enumerate().find(|(at, other)| {
            let (add, other_add) = (&*route.renaming.add, &*other.renaming.add);
            let is_start = !other_add.is_empty() && add != other_add && add.starts_with(other_add);
            let meets = |name: &&str| other.clusters.contains(name);
            *at != index && is_start && route.clusters.iter().any(meets)
        });
        if let Some((_, wider)) = wider {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let (long, short) = (text(&route.renaming.add), text(&wider.renaming.add));
            cx.diagnostics
                .error(
                    route.span,
                    format!("the prefix '{long}' begins with '{short}', that of another route"),
                )
                .also(
                    wider.span,
                    "keys of the one would be among those of this one",
                )
                .help("end prefixes with a byte that is nowhere else in them, such as ':'");
        }
    }
}

/// What is said of two listeners of which one's clients would reach keys of the other's: in the same cluster, a prefix of the one is
/// the start of one of the other. Both may have the same, for the same clients.
pub(super) fn shared_prefix(one: &[RouteConfig], other: &[RouteConfig]) -> Option<String> {
    let prefixed = |routes: &'_ [RouteConfig]| -> Vec<(Arc<Renaming>, [String; 2])> {
        let named = routes.iter().filter_map(|route| {
            let renaming = Arc::clone(route.way.renaming.as_ref()?);
            let reads = route.read_cluster.as_ref().unwrap_or(&route.cluster);
            let clusters = [route.cluster.clone(), reads.clone()];
            (!renaming.add.is_empty()).then_some((renaming, clusters))
        });
        named.collect()
    };
    let (one, other) = (prefixed(one), prefixed(other));
    let mut pairs = one
        .iter()
        .flat_map(|one| other.iter().map(move |other| (one, other)));
    let (one, other) = pairs.find(|((one, at), (other, there))| {
        let meet = at.iter().any(|name| there.contains(name));
        let is_within = |one: &[u8], other: &[u8]| one != other && one.starts_with(other);
        meet && (is_within(&one.add, &other.add) || is_within(&other.add, &one.add))
    })?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut prefixes = [&one.0.add, &other.0.add];
    prefixes.sort_unstable();
    let [short, long] = prefixes.map(|prefix| text(prefix));
    Some(format!(
        "clients of the key prefix '{short}' reach keys of the prefix '{long}'"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_copied_that_do_what_is_asked_for() {
        use MirrorCommands::{All, Reads, Writes};
        let rows = [
            ("set", true, false),
            ("flushdb", true, false),
            ("eval", true, false),
            ("evalsha", true, false),
            ("fcall", true, false),
            ("script|load", true, false),
            ("xreadgroup", true, false),
            ("sort", true, false),
            ("get", false, true),
            ("mget", false, true),
            ("eval_ro", false, true),
            ("sort_ro", false, true),
            ("publish", false, false),
            ("ping", false, false),
            ("info", false, false),
            ("multi", false, false),
        ];
        for (name, is_write, is_read) in rows {
            let command = CommandId::of_full_name(name.as_bytes()).unwrap();
            assert_eq!(Writes.takes(command), is_write, "{name}");
            assert_eq!(Reads.takes(command), is_read, "{name}");
            assert_eq!(All.takes(command), is_write || is_read, "{name}");
        }
    }
}
