//! What is read, what is refused and in which words; that the schema knows every key.

use portcullis_config::{Diagnostics, Source, load};

use super::*;

fn read(yaml: &str) -> (Option<TcpConfig>, String) {
    let source = Source::new("test.yaml", yaml);
    let mut diagnostics = Diagnostics::new(&source);
    let node = load(&source, &|_| None, &mut diagnostics).unwrap();
    let clusters = ["bastion".to_owned(), "spare".to_owned()];
    let config = TcpConfig::read(
        &node,
        &mut ReadContext {
            diagnostics: &mut diagnostics,
            clusters: &clusters,
            path: "listeners.ssh",
        },
    );
    (config, diagnostics.render(false))
}

#[test]
fn defaults_are_what_the_documents_say() {
    let (config, report) = read("cluster: bastion");
    assert_eq!(report, "");
    let config = config.unwrap();
    let everything = RouteConfig::catch_all(vec![("bastion".to_owned(), 1)]);
    assert_eq!(config.routes, [everything]);
    assert_eq!(config.sniff_timeout, Duration::from_secs(5));
    assert_eq!(config.idle_timeout, Timeout::from_secs(3600));
    assert_eq!(config.max_duration, Timeout::Off);
    assert_eq!(config.connect.attempts.get(), 3);
    assert_eq!(config.filters.0.len(), 0);
    assert_eq!(
        Some(config),
        read("# moved\n\ncluster: bastion").0,
        "the place is no change"
    );
}

#[test]
fn rules_are_read_in_order() {
    let (config, report) = read(
        "sniff_timeout: 2s\nroutes:\n- match: {sni: [a.example, '*.b.example'], alpn: h2}\n  \
         cluster: bastion\n- name: named\n  match: {sni: '*'}\n  clusters: [{cluster: spare, weight: 2}]\n- cluster: spare",
    );
    assert_eq!(report, "");
    let config = config.unwrap();
    assert_eq!(config.sniff_timeout, Duration::from_secs(2));
    let [first, named, rest] = &config.routes[..] else {
        panic!("{:?}", config.routes);
    };
    assert_eq!(first.name.as_deref(), Some("routes[0]"));
    let names: Vec<_> = first.server_names.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["a.example", "*.b.example"]);
    assert!(first.condition.named && first.condition.protocols.is_some());
    assert_eq!(named.name.as_deref(), Some("named"));
    assert_eq!(named.clusters, [("spare".to_owned(), 2)]);
    assert!(named.condition.asks() && !rest.condition.asks());
}

#[test]
fn the_log_stands_first() {
    let (config, report) =
        read("{cluster: bastion, filters: [{deny: {client: [10.0.0.0/8]}}, access_log]}");
    assert_eq!(report, "");
    let names: Vec<_> = config
        .unwrap()
        .filters
        .0
        .iter()
        .map(|filter| filter.name)
        .collect();
    assert_eq!(names, ["access_log", "deny"]);
}

#[test]
fn mistakes_are_said() {
    let rows = [
        ("{}", "does not say where connections go"),
        ("cluster: bastian", "did you mean 'bastion'"),
        (
            "{cluster: bastion, clusters: []}",
            "either a cluster or clusters",
        ),
        ("clusters: []", "there is nothing to choose from"),
        (
            "clusters: [{cluster: spare, weight: 0}]",
            "all weights are 0",
        ),
        ("clusters: [{cluster: spar}]", "did you mean 'spare'"),
        (
            "{cluster: bastion, idle_timout: 5s}",
            "did you mean 'idle_timeout'",
        ),
        ("{cluster: bastion, idle_timeout: 5}", "test.yaml:1:34"),
        (
            "{cluster: bastion, connect: {attempts: 0}}",
            "test.yaml:1:40",
        ),
        (
            "{cluster: bastion, filters: [{allow: {client: []}}]}",
            "`client` lists nothing",
        ),
        (
            "{cluster: bastion, routes: [{cluster: spare}]}",
            "either a cluster or routes",
        ),
        (
            "{clusters: [{cluster: bastion}], routes: [{cluster: spare}]}",
            "either a cluster or routes",
        ),
        ("routes: []", "there are no routes"),
        ("routes: [{match: {sni: a}}]", "test.yaml:1:10"),
        (
            "routes: [{match: {sni: a}}]",
            "the route does not say where connections go",
        ),
        (
            "routes: [{cluster: spare, clusters: []}]",
            "a route has either a cluster or clusters",
        ),
        ("routes: [{cluster: spar}]", "did you mean 'spare'"),
        (
            "routes: [{match: {snl: a}, cluster: spare}]",
            "did you mean 'sni'",
        ),
        (
            "routes: [{match: {sni: 'a:443'}, cluster: spare}]",
            "the port is not part",
        ),
        (
            "routes: [{match: {sni: [a, 192.0.2.1]}, cluster: spare}]",
            "'192.0.2.1' can never match",
        ),
        (
            "routes: [{match: {sni: '[::1]'}, cluster: spare}]",
            "can never match",
        ),
        (
            "routes: [{match: {alpn: ''}, cluster: spare}]",
            "1 to 255 bytes",
        ),
        (
            "routes: [{cluster: spare}, {match: {sni: a}, cluster: bastion}]",
            "route 'routes[1]' can never match: 'routes[0]' before it",
        ),
        (
            "routes: [{match: {sni: '*.a'}, cluster: spare}, {match: {sni: b.a, alpn: h2}, cluster: spare}]",
            "can never match",
        ),
        (
            "routes: [{name: x, match: {sni: a}, cluster: spare}, {name: x, cluster: spare}]",
            "two routes are named 'x'",
        ),
        (
            "{cluster: bastion, sniff_timeout: 1s}",
            "nothing is waited for",
        ),
        (
            "{routes: [{cluster: bastion}], sniff_timeout: 1s}",
            "nothing is waited for",
        ),
        (
            "{cluster: bastion, filters: [{cors: {}}]}",
            "has no filter 'cors'",
        ),
        (
            "{cluster: bastion, filters: [{rate_limit: {rate: 1/s, per: [http.host]}}]}",
            "unknown fact 'http.host'",
        ),
    ];
    for (yaml, wanted) in rows {
        let (_, report) = read(yaml);
        assert!(report.contains(wanted), "{yaml}:\n{report}");
    }
}

/// A listener as one of the README's examples has it, with the clusters of that example.
fn from_readme(listener: &str) -> TcpConfig {
    let readme = include_str!("../../README.md");
    let mut examples = readme
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next());
    let key = format!("  {listener}:\n");
    let example = examples.find(|example| example.contains(&key)).unwrap();
    let source = Source::new("README.md", example);
    let mut diagnostics = Diagnostics::new(&source);
    let node = load(&source, &|_| None, &mut diagnostics).unwrap();
    let block = node.get("listeners").unwrap().get(listener).unwrap();
    let (_, keys) = block.split(&["listen", "protocol"]);
    let (_, clusters) = example.split_once("\nclusters:\n").unwrap();
    let clusters: Vec<String> = clusters
        .lines()
        .filter_map(|line| Some(line.trim().split_once(':')?.0.to_owned()))
        .collect();
    let config = TcpConfig::read(
        &keys,
        &mut ReadContext {
            diagnostics: &mut diagnostics,
            clusters: &clusters,
            path: "listeners.readme",
        },
    );
    assert_eq!(diagnostics.render(false), "");
    config.unwrap()
}

#[test]
fn the_examples_in_the_readme_are_read() {
    assert_eq!(from_readme("ssh").filters.0.len(), 6);
    let secure = from_readme("secure");
    assert_eq!(secure.routes.len(), 3);
    assert!(!secure.routes.last().unwrap().condition.asks());
}

#[test]
fn the_schema_knows_every_key() {
    let schema = TcpConfig::schema();
    let properties = schema.get("properties").and_then(Value::as_object).unwrap();
    let keys: Vec<&str> = properties.keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "cluster",
            "clusters",
            "routes",
            "sniff_timeout",
            "idle_timeout",
            "max_duration",
            "connect",
            "filters"
        ]
    );
    for (key, schema) in properties.iter().filter(|(key, _)| *key != "filters") {
        assert!(
            !schema.to_string().contains("$ref"),
            "{key} refers elsewhere"
        );
    }
    let filters = schema.pointer("/properties/filters/items/oneOf").unwrap();
    assert_eq!(
        filters.as_array().unwrap().len(),
        7,
        "six filters, and names alone"
    );
}
