//! What a new configuration changes, and nothing else: the pure part of a reload.
//!
//! Nothing is built or torn down here, and what is in neither list is not even looked at later: that is how a
//! reload leaves alone what it does not change. Start at [`plan`].

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::model::Model;

/// What differs between two configurations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Listeners that come, change and go.
    pub listeners: Delta,
    /// Clusters that come, change and go.
    pub clusters: Delta,
    /// Settings of the process that changed and take effect without touching a connection.
    pub settings: Vec<&'static str>,
}

/// Names that come, change and go, each list in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delta {
    /// Only in the new configuration.
    pub added: Vec<Arc<str>>,
    /// In both, and different.
    pub changed: Vec<Arc<str>>,
    /// Only in the old configuration.
    pub removed: Vec<Arc<str>>,
}

/// What running the new configuration instead of the old one takes.
#[must_use]
pub fn plan(old: &Model, new: &Model) -> Changes {
    let settings = [
        ("admin", old.admin != new.admin),
        ("limits", old.limits != new.limits),
        ("drain", old.drain != new.drain),
    ];
    Changes {
        listeners: Delta::between(&old.listeners, &new.listeners),
        clusters: Delta::between(&old.clusters, &new.clusters),
        settings: settings
            .into_iter()
            .filter_map(|(name, changed)| changed.then_some(name))
            .collect(),
    }
}

/// The settings that changed and cannot while the process runs. A reload that wants them is refused: it could
/// only pretend.
#[must_use]
pub fn unchangeable(old: &Model, new: &Model) -> Vec<&'static str> {
    let fixed = [
        ("admin.listen", old.admin.listen != new.admin.listen),
        (
            "runtime.workers",
            old.runtime.workers != new.runtime.workers,
        ),
        (
            "runtime.name_server",
            old.runtime.name_server != new.runtime.name_server,
        ),
    ];
    fixed
        .into_iter()
        .filter_map(|(name, changed)| changed.then_some(name))
        .collect()
}

impl Changes {
    /// Whether both configurations mean the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// For the answer to a reload request.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "listeners": self.listeners.to_json(),
            "clusters": self.clusters.to_json(),
            "settings": self.settings,
        })
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return formatter.write_str("nothing changed");
        }
        let mut parts = Vec::new();
        for (kind, delta) in [("listener", &self.listeners), ("cluster", &self.clusters)] {
            for (verb, names) in [
                ("added", &delta.added),
                ("changed", &delta.changed),
                ("removed", &delta.removed),
            ] {
                parts.extend(names.iter().map(|name| format!("{kind} {name} {verb}")));
            }
        }
        parts.extend(self.settings.iter().map(|name| format!("{name} changed")));
        formatter.write_str(&parts.join(", "))
    }
}

impl Delta {
    fn between<T: PartialEq>(
        old: &BTreeMap<Arc<str>, Arc<T>>,
        new: &BTreeMap<Arc<str>, Arc<T>>,
    ) -> Self {
        let mut delta = Self::default();
        for (name, value) in new {
            match old.get(name) {
                None => delta.added.push(Arc::clone(name)),
                Some(before) if before != value => delta.changed.push(Arc::clone(name)),
                Some(_) => {}
            }
        }
        let gone = old.keys().filter(|name| !new.contains_key(*name));
        delta.removed = gone.cloned().collect();
        delta
    }

    /// The names that must be built: those that come and those that change.
    pub fn to_build(&self) -> impl Iterator<Item = &Arc<str>> {
        self.added.iter().chain(&self.changed)
    }

    fn to_json(&self) -> Value {
        json!({ "added": self.added, "changed": self.changed, "removed": self.removed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::testing::model;

    const BASE: &str = "
listeners:
  web: { listen: 127.0.0.1:80, protocol: fake, cluster: a }
  ssh: { listen: 127.0.0.1:22, protocol: fake, cluster: b }
clusters:
  a: { endpoints: [10.0.0.1:80] }
  b: { endpoints: [10.0.0.2:22] }
";

    #[test]
    fn only_what_differs_is_named() {
        type Edits = &'static [(&'static str, &'static str)];
        let rows: &[(&str, Edits, &str)] = &[
            ("the same", &[], "nothing changed"),
            (
                "an address",
                &[("127.0.0.1:80,", "127.0.0.1:81,")],
                "listener web changed",
            ),
            (
                "another cluster behind it",
                &[("protocol: fake, cluster: b", "protocol: fake, cluster: a")],
                "listener ssh changed",
            ),
            (
                "an endpoint",
                &[("10.0.0.1:80", "10.0.0.9:80")],
                "cluster a changed",
            ),
            (
                "a listener's name",
                &[("  web:", "  www:")],
                "listener www added, listener web removed",
            ),
            (
                "a listener and a cluster go, one comes",
                &[
                    (
                        "  ssh: { listen: 127.0.0.1:22, protocol: fake, cluster: b }\n",
                        "",
                    ),
                    ("  b: {", "  c: {"),
                ],
                "listener ssh removed, cluster c added, cluster b removed",
            ),
            (
                "settings",
                &[(
                    "listeners:",
                    "drain: { timeout: 3s }\nlimits: { connections: 5 }\nlisteners:",
                )],
                "limits changed, drain changed",
            ),
            (
                "only the way it is written",
                &[(
                    "{ endpoints: [10.0.0.1:80] }",
                    "\n    endpoints:\n      - 10.0.0.1:80",
                )],
                "nothing changed",
            ),
        ];
        let old = model(BASE);
        for (row, edits, expected) in rows {
            let text = edits
                .iter()
                .fold(BASE.to_owned(), |text, (from, to)| text.replace(from, to));
            let changes = plan(&old, &model(&text));
            assert_eq!(changes.to_string(), *expected, "{row}");
            assert_eq!(changes.is_empty(), *expected == "nothing changed", "{row}");
        }
    }

    #[test]
    fn threads_and_the_admin_address_stay() {
        let old = model(BASE);
        let rows = [
            ("", &[][..]),
            (
                "runtime: { workers: { count: 7 } }",
                &["runtime.workers"][..],
            ),
            ("admin: { listen: 127.0.0.1:1 }", &["admin.listen"][..]),
            ("admin: { token: secret }", &[][..]),
        ];
        for (extra, expected) in rows {
            let new = model(&format!("{BASE}{extra}\n"));
            assert_eq!(unchangeable(&old, &new), expected, "{extra}");
        }
    }
}
