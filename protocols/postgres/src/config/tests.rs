//! What is read, what is refused and in which words; that the schema knows every key.

use portcullis_config::{Diagnostics, Duration, Source, Timeout, load};

use super::*;

fn read(yaml: &str) -> (Option<PostgresConfig>, String) {
    let source = Source::new("test.yaml", yaml);
    let mut diagnostics = Diagnostics::new(&source);
    let node = load(&source, &|_| None, &mut diagnostics).unwrap();
    let clusters = ["shop".to_owned(), "spare".to_owned()];
    let config = PostgresConfig::read(
        &node,
        &mut ReadContext {
            diagnostics: &mut diagnostics,
            clusters: &clusters,
            path: "listeners.db",
        },
    );
    (config, diagnostics.render(false))
}

fn good(yaml: &str) -> PostgresConfig {
    let (config, report) = read(yaml);
    assert_eq!(report, "", "{yaml}");
    config.unwrap()
}

const SMALL: &str = "{cluster: shop, auth: {method: trust}}";

#[test]
fn defaults_are_what_the_documents_say() {
    let config = good(SMALL);
    assert_eq!(config.auth.method, AuthMethod::Trust);
    assert!(config.auth.admits_anybody());
    assert_eq!(config.auth.require_tls, None);
    assert_eq!(config.upstream, UpstreamConfig::default());
    assert_eq!(config.upstream.auth_minimum, AuthMinimum::ScramSha256);
    assert!(config.upstream.passthrough);
    let pool = &config.pool;
    assert_eq!(
        (pool.mode, pool.state),
        (PoolMode::Session, StatePolicy::Pin)
    );
    assert_eq!((pool.size, pool.min, pool.reserve), (20, 0, 0));
    assert_eq!(pool.wait_timeout, Duration::from_secs(120));
    assert_eq!(pool.idle_timeout, Timeout::from_secs(600));
    assert_eq!(pool.max_lifetime, Timeout::from_secs(3600));
    assert_eq!(pool.prepared_statements, 200);
    assert_eq!(config.timeouts.startup, Duration::from_secs(10));
    assert_eq!(config.timeouts.query, Timeout::Off);
    assert_eq!(config.limits.startup.to_string(), "10KiB");
    assert_eq!(config.limits.statement.to_string(), "256KiB");
    assert_eq!(*config.limits.client_statements, 1000);
    assert_eq!(*config.limits.pipeline, 256);
    assert_eq!(config.routes.len(), 1);
    assert_eq!(config.routes[0].role, Role::Primary);
    assert_eq!(config.read_your_writes, ReadYourWrites::Off);
    assert_eq!(config.on_unparsable, OnUnparsable::Allow);
    assert!(!config.hints && !config.console.is_open() && !config.console.is_console("pgbouncer"));
    assert_eq!(*config.statements.top, 1000);
    assert_eq!(
        config,
        good("# moved\n\nauth: {method: trust}\ncluster: shop"),
        "the place is no change"
    );
}
