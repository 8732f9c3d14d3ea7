//! What is wrong with a cluster for Redis, though it is right by itself: found when the configuration is checked.
//!
//! Start at [`mistakes`].

use portcullis_cluster::{ClusterConfig, HealthProbe};
use portcullis_proxy::{ClusterMistake, Protocol as _};

use super::server::Redis;

/// What a cluster's configuration lacks that has several endpoints.
pub(super) fn no_topology(name: &str) -> String {
    format!("cluster '{name}' has several endpoints and does not say what they are to each other")
}

/// Why Redis cannot use a cluster.
pub(super) fn mistakes(name: &str, cluster: &ClusterConfig) -> Vec<ClusterMistake> {
    let mut mistakes = Vec::new();
    if cluster.redis.topology(&cluster.endpoints).is_none() && !cluster.endpoints.is_empty() {
        mistakes.push(ClusterMistake {
            span: Some(cluster.endpoints.span),
            message: no_topology(name),
            help: "write `redis: { topology: shards }`, `redis_cluster` or `sentinel`; of several that hold the same, \
                   all but one are `role: replica`",
        });
    }
    let asks = |probe: &HealthProbe| match probe {
        HealthProbe::Http { .. } => Some("HTTP"),
        HealthProbe::Grpc { .. } => Some("gRPC"),
        HealthProbe::Tcp => None,
        HealthProbe::Protocol(probe) => (probe.name() != Redis::NAME).then(|| probe.name()),
    };
    let check = cluster.health_check.as_ref();
    if let Some(spoken) = check.and_then(|check| asks(&check.probe)) {
        mistakes.push(ClusterMistake {
            span: None,
            message: format!(
                "cluster '{name}' has Redis servers, and its health check asks them for {spoken}"
            ),
            help: "`health_check: { redis: {} }` asks with PING, `{ tcp: {} }` connects",
        });
    }
    mistakes
}

#[cfg(test)]
mod tests {
    use portcullis_config::{Diagnostics, Source, load};

    use super::*;

    #[test]
    fn clusters_that_run_would_refuse_or_that_could_not_work_are_found() {
        let two = "endpoints: [\"a:1\", \"b:1\"]";
        let one = "endpoints: [\"a:1\"]";
        let rows: [(&str, String, &[&str]); 8] = [
            ("one endpoint", one.to_owned(), &[]),
            ("two without a word", two.to_owned(), &["several endpoints"]),
            (
                "shards",
                format!("{two}\nredis: {{ topology: shards }}"),
                &[],
            ),
            (
                "a cluster's nodes",
                format!("{two}\nredis: {{ topology: redis_cluster }}"),
                &[],
            ),
            (
                "a replica",
                "endpoints: [\"a:1\", { address: \"b:1\", role: replica }]".to_owned(),
                &[],
            ),
            (
                "by connecting",
                format!("{one}\nhealth_check: {{ tcp: {{}} }}"),
                &[],
            ),
            (
                "by HTTP",
                format!(
                    "{two}\nredis: {{ topology: redis_cluster }}\nhealth_check: {{ http: /x }}"
                ),
                &["asks them for HTTP"],
            ),
            (
                "all wrong",
                format!("{two}\nhealth_check: {{ grpc: {{}} }}"),
                &["several endpoints", "asks them for gRPC"],
            ),
        ];
        for (row, yaml, expected) in rows {
            let source = Source::new("test.yaml", &yaml);
            let mut diagnostics = Diagnostics::new(&source);
            let node = load(&source, &|_| None, &mut diagnostics).unwrap();
            let cluster: ClusterConfig = node.read(&mut diagnostics).unwrap();
            let found = mistakes("c", &cluster);
            assert_eq!(found.len(), expected.len(), "{row}: {found:?}");
            for (mistake, expected) in found.iter().zip(expected) {
                assert!(mistake.message.contains(expected), "{row}: {mistake:?}");
            }
        }
    }
}
