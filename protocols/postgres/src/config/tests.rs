//! What is read, what is refused and in which words; that the schema knows every key.

use portcullis_config::{ByteSize, Diagnostics, Duration, Source, Timeout, load};

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
    assert_eq!(config.limits.startup.value, ByteSize(10_000));
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

/// The example in `CONFIG.md`, and that it says everything that can be said.
#[test]
fn the_documented_example_is_read() {
    let documents = include_str!("../../CONFIG.md");
    let example = documents
        .split("```yaml")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let config = good(example);
    assert_eq!(config.routes.len(), 4);
    assert_eq!(config.routes[0].role, Role::PreferReplica);
    assert_eq!(config.routes[2].database.as_deref(), Some("archive_v2"));
    assert_eq!(
        config.read_your_writes,
        ReadYourWrites::PrimaryFor(Duration::from_secs(2))
    );
    assert_eq!(config.auth.users.len(), 3);
    let app = &config.auth.users["app"];
    assert!(app.may_open("shop") && !app.may_open("postgres"));
    assert!(matches!(app.password.as_deref(), Some(Password::Plain(_))));
    assert!(matches!(
        config.auth.users["report"].password.as_deref(),
        Some(Password::Scram(_))
    ));
    assert_eq!(
        config.auth.auth_query.as_ref().unwrap().query,
        DEFAULT_AUTH_QUERY
    );
    assert_eq!(config.pool.mode, PoolMode::Transaction);
    assert_eq!(
        config.pool.limits(app.pool_size.as_deref().copied()).size,
        40
    );
    assert!(config.console.is_console("pgbouncer") && config.console.is_console("portcullis"));
    assert_eq!(config.filters.0.len(), 9);
    assert_eq!(config.filters.0[0].name, "access_log");
    let properties = PostgresConfig::schema();
    for key in properties["properties"].as_object().unwrap().keys() {
        assert!(
            documents.contains(&format!("`{key}")),
            "{key} is not in the document"
        );
    }
}

#[test]
fn secrets_are_not_printed() {
    let config = good(
        "{cluster: shop, auth: {users: {app: {password: s3cret, upstream_user: x, upstream_password: s3cret}}, \
         auth_query: {user: a, password: s3cret}}, upstream: {user: u, password: s3cret}}",
    );
    assert!(!format!("{config:?}").contains("s3cret"));
    assert_eq!(
        config.upstream.password.as_ref().unwrap().expose(),
        "s3cret"
    );
}

#[test]
fn read_your_writes_has_three_forms() {
    let routes = "auth: {method: trust}, upstream: {user: gateway}, pool: {mode: transaction}, \
                  routes: [{match: {statement: read}, cluster: spare, role: replica}, {cluster: shop}]";
    for (text, expected) in [
        ("off", ReadYourWrites::Off),
        (
            "{primary_for: 2s}",
            ReadYourWrites::PrimaryFor(Duration::from_secs(2)),
        ),
        ("lsn", ReadYourWrites::Lsn),
    ] {
        let config = good(&format!("{{{routes}, read_your_writes: {text}}}"));
        assert_eq!(config.read_your_writes, expected, "{text}");
    }
}

#[test]
fn lag_is_bounded_in_time_and_bytes() {
    let routes =
        "auth: {users: {app: {password: plain}}}, routes: [{cluster: shop, role: replica}]";
    let config = good(&format!(
        "{{{routes}, max_lag: {{time: 10s, bytes: 16MiB}}}}"
    ));
    let expected = MaxLag {
        time: Some(Duration::from_secs(10)),
        bytes: Some(ByteSize::mib(16)),
    };
    assert_eq!(config.max_lag, expected);
    assert_eq!(
        config.asks_as().map(|(user, _)| user).as_deref(),
        Some("app")
    );
    assert!(!good(&format!("{{{routes}}}")).max_lag.is_some());
}

#[test]
fn certificates_name_users() {
    use portcullis_filter::{AlternativeName, ClientCertificate};
    let certificate = ClientCertificate {
        subject: "CN=ann,O=Corp".into(),
        names: vec![AlternativeName::Uri("spiffe://corp/billing".into())],
        ..ClientCertificate::default()
    };
    let rows = [
        ("{}", "ann", true),
        ("{}", "bob", false),
        ("{map: {ann: [billing]}}", "billing", true),
        ("{map: {ann: [billing]}}", "ann", false),
        (
            "{name: san, map: {\"spiffe://corp/*\": [billing]}}",
            "billing",
            true,
        ),
        (
            "{name: san, map: {\"spiffe://other/*\": [billing]}}",
            "billing",
            false,
        ),
        ("{name: san}", "ann", false),
    ];
    for (yaml, user, permitted) in rows {
        let config = good(&format!(
            "{{cluster: shop, auth: {{method: certificate, certificate: {yaml}}}}}"
        ));
        assert_eq!(
            config.auth.certificate.permits(&certificate, user),
            permitted,
            "{yaml} {user}"
        );
    }
}

#[test]
fn mistakes_are_said() {
    let trust = |rest: &str| format!("{{auth: {{method: trust}}, {rest}}}");
    let auth = |rest: &str| format!("{{cluster: shop, auth: {{{rest}}}}}");
    let md5 = "md5".to_owned() + &"0".repeat(32);
    let rows = [
        ("cluster: shop".to_owned(), "auth: { method: trust }"),
        (auth(""), "asks for passwords, and there are none"),
        (auth("method: md5"), "`md5` asks for passwords"),
        (auth("method: scram"), "scram-sha-256"),
        (auth("users: {app: {}}"), "user 'app' has no password"),
        (
            auth(&format!("users: {{app: {{password: {md5}}}}}")),
            "with an md5 hash",
        ),
        (
            auth("users: {app: {password: x, pool_size: 0}}"),
            "never served",
        ),
        (
            auth("users: {app: {passwort: x}}"),
            "did you mean 'password'",
        ),
        (
            auth("method: cleartext, require_tls: false, users: {a: {password: x}}"),
            "needs TLS",
        ),
        (
            auth("method: trust, certificate: {name: san}"),
            "method: certificate",
        ),
        (
            auth("auth_query: {user: a, query: select 1}"),
            "does not ask for a user",
        ),
        (
            auth("auth_query: {user: a, cluster: shp}"),
            "did you mean 'shop'",
        ),
        (trust("cluster: shp"), "did you mean 'shop'"),
        (trust(""), "does not say where statements go"),
        (
            trust("cluster: shop, routes: [{cluster: spare}]"),
            "either a cluster or routes",
        ),
        (trust("routes: []"), "there are no routes"),
        (
            trust("routes: [{cluster: shop}, {match: {user: a}, cluster: spare}]"),
            "can never match",
        ),
        (
            trust(
                "routes: [{match: {user: a}, cluster: shop, name: x}, {cluster: spare, name: x}]",
            ),
            "two routes",
        ),
        (
            trust("routes: [{match: {statement: read}, cluster: spare}, {cluster: shop}]"),
            "mode: transaction",
        ),
        (
            trust("routes: [{match: {statement: raed}, cluster: spare}, {cluster: shop}]"),
            "no such statement",
        ),
        (
            trust("cluster: shop, read_your_writes: lsn"),
            "goes to the primary anyway",
        ),
        (
            trust("cluster: shop, max_lag: {time: 5s}"),
            "no route reads from replicas",
        ),
        (
            trust("routes: [{cluster: shop, role: replica}], max_lag: {bytes: 1MiB}"),
            "nobody as whom servers could be asked",
        ),
        (
            trust("routes: [{cluster: shop, role: replica}], read_your_writes: lsn"),
            "nobody as whom servers could be asked",
        ),
        (trust("cluster: shop, pool: {size: 0}"), "nobody is served"),
        (
            trust("cluster: shop, pool: {size: 2, min: 3}"),
            "larger than `size`",
        ),
        (trust("cluster: shop, pool: {mode: sesion}"), "session"),
        (
            trust("cluster: shop, pool: {reserve: 1, reserve_after: 2m}"),
            "not before `wait_timeout`",
        ),
        (
            trust("cluster: shop, pool: {mode: transaction, prepared_statements: 0, size: x}"),
            "test.yaml:1:",
        ),
        (
            trust("cluster: shop, limits: {startup: 10B}"),
            "no sensible bound",
        ),
        (
            trust("cluster: shop, limits: {pipeline: 0}"),
            "refuses everything",
        ),
        (
            trust("cluster: shop, timeouts: {startup: off}"),
            "test.yaml:1:",
        ),
        (
            trust("cluster: shop, upstream: {password: x}"),
            "the password is nobody's",
        ),
        (
            trust("cluster: shop, upstream: {user: u, password: \"SCRAM-SHA-256$x\"}"),
            "cannot prove anything",
        ),
        (
            trust("cluster: shop, safe_functions: [\"f()\"]"),
            "is no function",
        ),
        (
            trust("cluster: shop, console: {admins: [a], viewers: [a]}"),
            "may do everything already",
        ),
        (
            trust("cluster: shop, statements: {top: 1000000}"),
            "hundreds of megabytes",
        ),
        (
            trust("cluster: shop, filters: [{rate_limit: {per: [postgres.usr], rate: 1/s}}]"),
            "postgres.user",
        ),
        (
            trust("cluster: shop, filters: [{acces_log: {}}]"),
            "did you mean 'access_log'",
        ),
        (trust("cluster: shop, poool: {}"), "did you mean 'pool'"),
    ];
    for (yaml, message) in rows {
        let (_, report) = read(&yaml);
        assert!(report.contains(message), "{yaml}\n{report}");
    }
}

#[test]
fn all_mistakes_are_said_at_once() {
    let (_, report) =
        read("{auth: {users: {a: {}}}, cluster: shp, pool: {size: 0}, limits: {pipeline: 0}}");
    for message in [
        "has no password",
        "did you mean 'shop'",
        "nobody is served",
        "refuses everything",
    ] {
        assert!(report.contains(message), "{message}\n{report}");
    }
}
