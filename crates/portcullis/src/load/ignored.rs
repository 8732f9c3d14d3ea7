//! Keys of clusters that none of the protocols that use them looks at.
//!
//! A cluster does not say what it is for, so its block may have keys for any protocol; what is set for one that never comes is a
//! mistake. Not keys that are wrong for a protocol that does look at them: those are [`super::checks::cluster_uses`]'s. Start at
//! [`ignored_keys`].

use std::collections::{BTreeMap, BTreeSet};

use portcullis_config::{Diagnostics, Node, Span};

use super::checks::collect_texts;

/// Keys and the protocols that look at them. All other keys concern every protocol.
const LOOKED_AT: [(&[&str], &[&str]); 7] = [
    (&["limits", "requests"], &["http"]),
    (&["limits", "pending"], &["http", "tcp"]),
    (&["pool", "max_idle"], &["http"]),
    (&["pool", "max_requests"], &["http"]),
    (&["pool", "idle_timeout"], &["http", "redis"]),
    (&["http"], &["http"]),
    (&["redis"], &["redis"]),
];

/// Those that leave some keys alone. Of others, such as those of tests, nothing is known.
const KNOWN: [&str; 6] = ["http", "postgres", "quic", "redis", "tcp", "udp"];

/// Reports keys of clusters that nobody looks at. Clusters that no listener mentions have a warning of their own.
pub(super) fn ignored_keys(root: &Node, errors: &mut Diagnostics) {
    let uses = uses(root);
    for (cluster, block) in root.get("clusters").into_iter().flat_map(Node::entries) {
        let Some(protocols) = uses.get(&*cluster.name) else {
            continue;
        };
        if !protocols.iter().all(|name| KNOWN.contains(name)) {
            continue;
        }
        let checks = block.get("health_check");
        let is_asked = ["http", "grpc"]
            .iter()
            .any(|probe| checks.is_some_and(|checks| checks.get(probe).is_some()));
        for (path, lookers) in LOOKED_AT {
            // Health checks by HTTP speak the version that is said there.
            let is_seen = protocols.iter().any(|name| lookers.contains(name))
                || (path == ["http"] && is_asked);
            if let Some(span) = written(block, path).filter(|_| !is_seen) {
                let key = path.join(".");
                let users: Vec<&str> = protocols.iter().copied().collect();
                let who = users.join(" and ");
                let message =
                    format!("`{key}` does nothing for {who}, which this cluster is used by");
                errors
                    .error(span, message)
                    .help(format!("leave it out; it is for {}", lookers.join(" and ")));
            }
        }
    }
}

/// Where the key at the end of a path is written.
fn written(block: &Node, path: &[&str]) -> Option<Span> {
    let (last, outer) = path.split_last()?;
    let block = outer.iter().try_fold(block, |block, key| block.get(key))?;
    block.entry(last).map(|(key, _)| key.span)
}

/// The protocols of the listeners in which a text is found, which may be the name of a cluster.
fn uses(root: &Node) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut uses: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (_, listener) in root.get("listeners").into_iter().flat_map(Node::entries) {
        let mut texts = BTreeSet::new();
        collect_texts(listener, &mut texts);
        // Without one nothing is known either.
        let own = listener.get("protocol").and_then(Node::as_str);
        let own = own.unwrap_or_default();
        let looked_for = listener
            .get("detect")
            .and_then(|detect| detect.get("protocols"));
        let looked_for = looked_for.and_then(Node::as_sequence).unwrap_or_default();
        let looked_for = looked_for
            .iter()
            .filter_map(|block| block.get("protocol").and_then(Node::as_str));
        let protocols: Vec<&str> = [own]
            .into_iter()
            .filter(|name| *name != portcullis_proxy::detect::NAME)
            .chain(looked_for)
            .collect();
        for text in texts {
            uses.entry(text).or_default().extend(&protocols);
        }
    }
    uses
}

#[cfg(test)]
mod tests {
    use portcullis_config::{Source, load};

    use super::*;

    fn found(listeners: &str, cluster: &str) -> Vec<String> {
        let text = format!(
            "listeners: {{ {listeners} }}\nclusters: {{ a: {{ {cluster} }}, b: {{ pool: {{ max_idle: 1 }} }} }}"
        );
        let source = Source::new("test.yaml", text);
        let mut errors = Diagnostics::new(&source);
        let root = load(&source, &|_| None, &mut errors).unwrap();
        ignored_keys(&root, &mut errors);
        let sorted = errors.sorted();
        sorted.iter().map(|error| error.message().clone()).collect()
    }

    #[test]
    fn keys_that_nobody_looks_at() {
        let http = "web: { protocol: http, routes: [{ clusters: [{ cluster: a, weight: 1 }] }] }";
        let tcp = "raw: { protocol: tcp, cluster: a }";
        let redis = "cache: { protocol: redis, cluster: a }";
        let unknown = "x: { protocol: fake, cluster: a }";
        let detect = "any: { protocol: detect, detect: { protocols: [{ protocol: http, cluster: a }, { protocol: tcp, cluster: a }] } }";
        let both = format!("{http}, {tcp}");
        let pool = "pool: { max_idle: 1, idle_timeout: 1s, max_requests: 1 }";
        let rows: &[(&str, &str, &[&str])] = &[
            (http, pool, &[]),
            (&both, pool, &[]),
            (detect, pool, &[]),
            (unknown, pool, &[]),
            ("web: { protocol: http, cluster: c }", pool, &[]),
            ("web: { protcol: redis, cluster: a }", pool, &[]),
            (
                tcp,
                pool,
                &["pool.max_idle", "pool.idle_timeout", "pool.max_requests"],
            ),
            (redis, pool, &["pool.max_idle", "pool.max_requests"]),
            (redis, "redis: { connections: 2 }", &[]),
            (http, "redis: { connections: 2 }", &["redis"]),
            (
                http,
                "limits: { requests: 1, pending: 1 }, http: { version: http2 }",
                &[],
            ),
            (
                redis,
                "limits: { requests: 1, pending: 1, connections: 1 }",
                &["limits.requests", "limits.pending"],
            ),
            (
                tcp,
                "limits: { requests: 1, pending: 1, connections: 1 }",
                &["limits.requests"],
            ),
            (tcp, "http: { version: http2 }", &["http"]),
            (
                tcp,
                "http: { version: http2 }, health_check: { http: / }",
                &[],
            ),
            (
                tcp,
                "http: { version: http2 }, health_check: { tcp: {} }",
                &["http"],
            ),
        ];
        for (listeners, cluster, expected) in rows {
            let found = found(listeners, cluster);
            assert_eq!(
                found.len(),
                expected.len(),
                "{listeners} {cluster}: {found:?}"
            );
            for (message, key) in found.iter().zip(*expected) {
                assert!(
                    message.starts_with(&format!("`{key}` does nothing")),
                    "{message}"
                );
            }
        }
    }
}
