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
    assert_eq!(config.clusters, [("bastion".to_owned(), 1)]);
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

#[test]
fn the_example_in_the_readme_is_read() {
    let readme = include_str!("../../README.md");
    let (_, example) = readme.split_once("```yaml\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let source = Source::new("README.md", example);
    let mut diagnostics = Diagnostics::new(&source);
    let node = load(&source, &|_| None, &mut diagnostics).unwrap();
    let listener = node.get("listeners").unwrap().get("ssh").unwrap();
    let (_, keys) = listener.split(&["listen", "protocol"]);
    let clusters = ["bastion".to_owned(), "bastion-new".to_owned()];
    let config = TcpConfig::read(
        &keys,
        &mut ReadContext {
            diagnostics: &mut diagnostics,
            clusters: &clusters,
            path: "listeners.ssh",
        },
    );
    assert_eq!(diagnostics.render(false), "");
    assert_eq!(config.unwrap().filters.0.len(), 6);
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
