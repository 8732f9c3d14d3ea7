//! Health checks that protocols bring: taken out of a cluster's block before the rest is read, and put in again.
//!
//! The cluster's own types know no protocol; what a check asks is read by its protocol. Start at [`read_cluster`].

use portcullis_cluster::{ClusterConfig, HealthProbe, ProtocolProbe};
use portcullis_config::{Key, Node, Value};
use portcullis_proxy::{ReadContext, Registry};

/// Reads a cluster whose `health_check` may be a protocol's. Mistakes go to the diagnostics.
pub(super) fn read_cluster(
    node: &Node,
    registry: &Registry,
    cx: &mut ReadContext<'_>,
) -> Option<ClusterConfig> {
    let Some((written, probe)) = take_probe(node, registry, cx) else {
        return node.read(cx.diagnostics);
    };
    let config: Option<ClusterConfig> = written.read(cx.diagnostics);
    let mut config = config?;
    let check = config.health_check.as_mut()?;
    // Another kind beside it is a mistake that was reported.
    if check.probe == HealthProbe::Tcp {
        check.probe = HealthProbe::Protocol(probe?);
    }
    Some(config)
}

/// The kinds that every build has.
const KINDS: [&str; 3] = ["http", "grpc", "tcp"];

/// The check of the protocol that is named, and the block with a check in its place that is like it: one kind among
/// others, without keys that only some of them have.
fn take_probe(
    node: &Node,
    registry: &Registry,
    cx: &mut ReadContext<'_>,
) -> Option<(Node, Option<ProtocolProbe>)> {
    let check = node.get("health_check")?;
    let named = registry.probes().filter_map(|(protocol, _)| {
        let (key, settings) = check.entry(protocol)?;
        Some((protocol, key, settings))
    });
    let named: Vec<_> = named.collect();
    let (protocol, key, settings) = named.first().copied()?;
    let is_other = |key: &Key| {
        KINDS.contains(&&*key.name) || named.iter().skip(1).any(|(_, other, _)| *other == key)
    };
    if let Some((other, _)) = check.entries().find(|(key, _)| is_other(key)) {
        cx.diagnostics
            .error(key.span, "a health check is of one kind, not of two")
            .also(other.span, "the other is here");
    }
    let probe = registry.read_probe(protocol, settings, cx);
    let names: Vec<&str> = named.iter().map(|(protocol, ..)| *protocol).collect();
    let mut written = node.clone();
    let entries = mapping(&mut written)?;
    let (_, place) = entries
        .iter_mut()
        .find(|(key, _)| key.name == "health_check")?;
    let (_, mut rest) = check.split(&[&names[..], &KINDS].concat());
    let stand_in = Key {
        name: "tcp".to_owned(),
        ..key.clone()
    };
    mapping(&mut rest)?.push((stand_in, Node::empty_block(settings.span)));
    *place = rest;
    Some((written, probe))
}

fn mapping(node: &mut Node) -> Option<&mut Vec<(Key, Node)>> {
    match &mut node.value {
        Value::Mapping(entries) => Some(entries),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::plan::plan;
    use crate::load::testing::{Late, LateProbe, read_with};

    fn text(check: &str) -> String {
        format!(
            "
listeners:
  web: {{ listen: ':80', protocol: late, cluster: a }}
clusters:
  a: {{ endpoints: [10.0.0.1:80], health_check: {{ {check} }} }}
"
        )
    }

    fn read(check: &str) -> Result<crate::model::Model, String> {
        let registry = Registry::new().with_control::<Late>();
        let loaded = read_with(&registry, &text(check));
        loaded.into_result().map_err(|report| report.text(false))
    }

    #[test]
    fn a_check_is_read_by_its_protocol() {
        let model = read("late: { word: hello }, interval: 9s").unwrap();
        let check = model.clusters["a"].health_check.clone().unwrap();
        let HealthProbe::Protocol(probe) = &check.probe else {
            panic!("{check:?}")
        };
        assert_eq!(probe.name(), "late");
        assert_eq!(check.interval.get().as_secs(), 9);
        let expected = portcullis_proxy::control::probe("late", LateProbe::of("hello"));
        assert_eq!(*probe, expected);

        let same = read("late: { word: hello }, interval: 9s").unwrap();
        assert!(plan(&model, &same).is_empty());
        let other = read("late: { word: bye }, interval: 9s").unwrap();
        assert_eq!(plan(&model, &other).to_string(), "cluster a changed");
    }

    #[test]
    fn mistakes_have_their_place() {
        for (check, expected) in [
            ("late: { wort: hello }", &["did you mean 'word'?"][..]),
            ("late: { word: hello }, tcp: {}", &["of one kind"]),
            ("late: { word: hello }, host: x", &["host belongs to"]),
            (
                "late: { word: 7 }, intervall: 1s",
                &["word", "did you mean 'interval'?"],
            ),
        ] {
            let report = read(check).unwrap_err();
            for expected in expected {
                assert!(report.contains(expected), "{check}: {report}");
            }
            let count = format!("{} error", expected.len());
            assert!(report.contains(&count), "{check}: {report}");
        }
    }
}
