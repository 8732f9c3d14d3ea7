use super::*;
use crate::testing::{self, cluster_json, config};
use crate::{BreakerKind, CountLimit};

fn read(settings: &str) -> Result<ClusterConfig, String> {
    let (config, diagnostics) = testing::read(&cluster_json(settings));
    config.ok_or_else(|| diagnostics.render(false))
}

#[test]
fn defaults() {
    let config = config(&cluster_json(""));
    assert_eq!(config.balance, None);
    assert_eq!(config.balance(), BalanceConfig::RoundRobin);
    assert_eq!(config.connect_timeout, Duration::from_secs(5));
    assert_eq!(config.limits.of(BreakerKind::Pending), Some(1024));
    assert_eq!(config.pool.max_idle, 128);
    assert_eq!(config.health_check, None);
    assert_eq!(config.ejection.most_ejected(5), 2);
    assert!(config.starts_healthy());
    assert!(config.is_panic(1, 3) && !config.is_panic(1, 2) && !config.is_panic(0, 0));
}

#[test]
fn endpoints_in_both_forms() {
    let text = r#"{"endpoints": ["api.internal:80", {"address": "10.0.0.1:81", "weight": 3, "role": "replica"}, "unix:/run/a"]}"#;
    let config = config(text);
    let written: Vec<_> = config
        .endpoints
        .iter()
        .map(|e| (e.address.to_string(), e.weight.get(), e.role))
        .collect();
    let expected = [
        ("api.internal:80", 1, None),
        ("10.0.0.1:81", 3, Some(EndpointRole::Replica)),
        ("unix:/run/a", 1, None),
    ];
    assert_eq!(
        written,
        expected.map(|(name, weight, role)| (name.to_owned(), weight, role))
    );
}

#[test]
fn what_is_accepted() {
    let cases = [
        r#""balance": "least_request""#,
        r#""limits": {"connections": "unlimited", "requests": 5}"#,
        r#""pool": {"max_idle": 0, "max_requests": 1000}"#,
        r#""health_check": {"http": "/healthz", "expected_status": [204, "300-399"], "host": "a.example"}"#,
        r#""health_check": {"tcp": {}, "interval": "1s"}"#,
        r#""health_check": {"grpc": {}}"#,
        r#""health_check": {"grpc": {"service": "shop.Cart"}, "host": "cart.example:50051"}"#,
        r#""health_check": {"grpc": {}, "host": "[::1]:443"}"#,
        r#""dns": {"family": "v6", "max_endpoints": 4}"#,
        r#""proxy_protocol": "v2""#,
        r#""redis": {"topology": "shards", "distribution": "maglev", "hash": "murmur", "hash_tag": "()", "connections": 2}"#,
        r#""redis": {"topology": "shards", "distribution": "modula", "hash": "one_at_a_time", "hash_tag": ""}"#,
        r#""redis": {"topology": "redis_cluster", "refresh_interval": "1m", "follow_unknown_nodes": true}"#,
        r#""redis": {"topology": "redis_cluster", "read_from": "prefer_replica", "slow_start": "off"}"#,
        r#""redis": {"topology": "sentinel", "master": "my-primary", "refresh_interval": "1s", "read_from": "replica"}"#,
        r#""redis": {"topology": "sentinel", "master": "a", "sentinel_user": "b", "sentinel_password": "c"}"#,
        r#""http": {"version": "http2", "max_streams": 10, "initial_window": "1MiB", "keep_alive": {"interval": "30s"}, "guard": {"ping": {"rate": "1/s", "burst": 2}}}"#,
    ];
    for case in cases {
        assert!(read(case).is_ok(), "{case}: {:?}", read(case));
    }
    let probe = read(cases[3]).unwrap().health_check.unwrap().probe;
    let passes: Vec<u16> = [200, 204, 300, 399, 400]
        .into_iter()
        .filter(|s| probe.expects(*s))
        .collect();
    assert_eq!(passes, [204, 300, 399]);
    assert_eq!(read(cases[1]).unwrap().limits.connections, CountLimit(None));
}

#[test]
fn what_is_refused() {
    let cases = [
        (r#""dns": {"max_endpoints": 0}"#, "0 is out of range"),
        (r#""balanse": "random""#, "did you mean 'balance'?"),
        (r#""balance": "fastest""#, "least_request"),
        (
            r#""redis": {"topology": "shards", "hash_tag": "{"}"#,
            "two characters",
        ),
        (
            r#""limits": {"requests": 0}"#,
            "a number from 1, or unlimited",
        ),
        (
            r#""limits": {"requests": "many"}"#,
            "a number from 1, or unlimited",
        ),
        (
            r#""health_check": {}"#,
            "needs `http: /path`, `grpc: {}` or `tcp: {}`",
        ),
        (r#""health_check": {"http": "/", "tcp": {}}"#, "not both"),
        (r#""health_check": {"http": "health"}"#, "must begin with /"),
        (r#""health_check": {"http": "/a b"}"#, "visible ASCII"),
        (
            r#""health_check": {"http": "/", "host": "a\r\nb"}"#,
            "visible ASCII",
        ),
        (
            r#""health_check": {"tcp": {}, "host": "a"}"#,
            "host belongs to an http or grpc check",
        ),
        (
            r#""health_check": {"tcp": {}, "expected_status": 200}"#,
            "belongs to an http check",
        ),
        (r#""health_check": {"grpc": {}, "tcp": {}}"#, "not both"),
        (
            r#""health_check": {"grpc": {}, "expected_status": 200}"#,
            "belongs to an http check",
        ),
        (
            r#""health_check": {"grpc": {"service": "a b"}}"#,
            "visible ASCII",
        ),
        (
            r#""health_check": {"grpc": {}, "host": "a/b"}"#,
            "host or host:port",
        ),
        (
            r#""health_check": {"grpc": {}, "host": "[::1"}"#,
            "host or host:port",
        ),
        (
            r#""health_check": {"grpc": {}, "host": "a:port"}"#,
            "host or host:port",
        ),
        (
            r#""health_check": {"grpc": {"servise": "a"}}"#,
            "did you mean 'service'?",
        ),
        (
            r#""health_check": {"http": "/", "expected_status": 99}"#,
            "from 100 to 599",
        ),
        (
            r#""health_check": {"http": "/", "expected_status": "300-200"}"#,
            "range such as",
        ),
        (
            r#""health_check": {"http": "/", "expected_status": []}"#,
            "no check would pass",
        ),
        (r#""ejection": {"consecutive_failures": 0}"#, "from 1 to"),
    ];
    for (case, expected) in cases {
        let error = read(case).unwrap_err();
        assert!(error.contains(expected), "{case}: {error}");
    }
}

#[test]
fn both_forms_of_an_endpoint_are_refused_where_they_stand() {
    let cases = [
        ("endpoints: [a]", "1:13", "address"),
        (
            "endpoints: [{ addres: 'a:1' }]",
            "1:15",
            "did you mean 'address'?",
        ),
        (
            "endpoints: [{ address: 'a:1', weight: 0 }]",
            "1:39",
            "from 1 to 65535",
        ),
        ("endpoints: [{ weight: 1 }]", "1:13", "address"),
        (
            "endpoints: [{ address: 'a:1', role: leader }]",
            "1:37",
            "replica",
        ),
        ("endpoints: ['a:1', 7]", "1:20", "an endpoint such as"),
        (
            "endpoints: ['a:1']\ndns: { min_ttl: 9s, max_ttl: 8s }",
            "2:6",
            "longer than",
        ),
    ];
    for (text, place, expected) in cases {
        let (config, mut diagnostics) = testing::read(text);
        if let Some(config) = config {
            config.check(&mut diagnostics);
        }
        let error = diagnostics.render(false);
        assert!(
            error.contains(&format!("yaml:{place}\n")) && error.contains(expected),
            "{error}"
        );
    }
}

#[test]
fn what_the_check_finds() {
    let cases = [
        (r#"{"endpoints": []}"#, 1),
        (r#"{"endpoints": ["a:1", "a:2", {"address": "a:1"}]}"#, 1),
        (
            r#"{"endpoints": ["a:1"], "dns": {"min_ttl": "9s", "max_ttl": "8s"}}"#,
            1,
        ),
        (
            r#"{"endpoints": ["a:1"], "ejection": {"base_time": "9s", "max_time": "8s"}}"#,
            1,
        ),
        (r#"{"endpoints": ["a:1"], "http": {"version": "auto"}}"#, 1),
        (
            r#"{"endpoints": ["a:1"], "http": {"version": "http2", "initial_window": "2KiB"}}"#,
            1,
        ),
        (r#"{"endpoints": ["a:1", "b:1"]}"#, 0),
        (
            r#"{"endpoints": ["a:1", "b:1"], "redis": {"topology": "standalone"}}"#,
            1,
        ),
        (r#"{"endpoints": ["a:1"], "redis": {"hash": "md5"}}"#, 1),
        (
            r#"{"endpoints": ["a:1", "b:1"], "redis": {"topology": "redis_cluster"}}"#,
            0,
        ),
        (
            r#"{"endpoints": ["a:1"], "redis": {"topology": "redis_cluster", "hash": "md5"}}"#,
            1,
        ),
        (
            r#"{"endpoints": ["a:1"], "redis": {"follow_unknown_nodes": true}}"#,
            1,
        ),
    ];
    for (text, expected) in cases {
        let (config, mut diagnostics) = testing::read(text);
        config.unwrap().check(&mut diagnostics);
        assert_eq!(diagnostics.count(), expected, "{text}");
    }
}

#[test]
fn what_the_check_finds_of_http3() {
    let rows = [
        (r#""tls": {}"#, ""),
        (r#""tls": {"alpn": ["h3", "h2"]}"#, ""),
        (
            r#""tls": {"min_version": "1.3"}, "health_check": {"http": "/"}"#,
            "",
        ),
        ("", "the cluster has no tls"),
        (
            r#""tls": {"sni": "a"}, "endpoints": ["a:1", "unix:/run/a"]"#,
            "a Unix socket cannot carry HTTP/3",
        ),
        (
            r#""tls": {}, "proxy_protocol": "v2""#,
            "no place for a PROXY header",
        ),
        (
            r#""tls": {}, "http": {"version": "http3", "guard": {"continuations": 3}}"#,
            "counts frames of HTTP/2",
        ),
        (r#""tls": {"alpn": ["h2"]}"#, "agreed on as h3"),
        (
            r#""tls": {}, "health_check": {"tcp": {}}"#,
            "says nothing about HTTP/3",
        ),
        (
            r#""tls": {}, "health_check": {"grpc": {}}"#,
            "asked over HTTP/2",
        ),
    ];
    for (keys, words) in rows {
        let http = if keys.contains("guard") {
            ""
        } else {
            r#""http": {"version": "http3"},"#
        };
        let endpoints = if keys.contains("endpoints") {
            ""
        } else {
            r#""endpoints": ["a:1"],"#
        };
        let text = format!("{{{http}{endpoints}{keys}}}").replace(",}", "}");
        let (config, mut diagnostics) = testing::read(&text);
        config.unwrap().check(&mut diagnostics);
        let found = diagnostics.render(false);
        assert_eq!(
            diagnostics.count(),
            usize::from(!words.is_empty()),
            "{text}: {found}"
        );
        assert!(found.contains(words), "{text}: {found}");
    }
}

#[test]
fn what_the_check_finds_of_http1_and_http2() {
    let rows = [
        (r#""http": {"version": "http1"}"#, ""),
        (r#""http": {"max_streams": 3}"#, "spoken to in HTTP/1"),
        (
            r#""http": {"version": "http1", "guard": {"continuations": 3}}"#,
            "spoken to in HTTP/1",
        ),
        (r#""tls": {}, "http": {"max_streams": 3}"#, ""),
        (
            r#""http": {"version": "http2", "guard": {"header_fields": 0}}"#,
            "guard.header_fields: a limit of 0",
        ),
        (
            r#""http": {"version": "http2", "guard": {"header_block": "0B"}}"#,
            "guard.header_block: a limit of 0",
        ),
    ];
    for (keys, words) in rows {
        let text = format!(r#"{{"endpoints": ["a:1"], {keys}}}"#);
        let (config, mut diagnostics) = testing::read(&text);
        config.unwrap().check(&mut diagnostics);
        let found = diagnostics.render(false);
        let expected = usize::from(!words.is_empty());
        assert_eq!(diagnostics.count(), expected, "{text}: {found}");
        assert!(found.contains(words), "{text}: {found}");
    }
}

#[test]
fn what_the_check_finds_of_redis() {
    let cases = [
        (r#"["a:1"]"#, r#""topology": "sentinel""#, 1, "a name"),
        (
            r#"["a:1", "b:1"]"#,
            r#""topology": "sentinel", "master": "a""#,
            0,
            "",
        ),
        (
            r#"["a:1"]"#,
            r#""topology": "sentinel", "master": "a b""#,
            1,
            "no name",
        ),
        (
            r#"["a:1"]"#,
            r#""topology": "sentinel", "master": """#,
            1,
            "no name",
        ),
        (
            r#"["a:1"]"#,
            r#""topology": "sentinel", "master": "a", "sentinel_user": "u""#,
            1,
            "without a password",
        ),
        (
            r#"["a:1"]"#,
            r#""topology": "sentinel", "master": "a", "hash": "md5""#,
            1,
            "topology: shards",
        ),
        (
            r#"["a:1"]"#,
            r#""topology": "sentinel", "master": "a", "follow_unknown_nodes": true"#,
            1,
            "redis_cluster",
        ),
        (
            r#"["a:1"]"#,
            r#""topology": "redis_cluster", "master": "a""#,
            1,
            "topology: sentinel",
        ),
        (
            r#"["a:1"]"#,
            r#""sentinel_password": "a""#,
            1,
            "topology: sentinel",
        ),
        (
            r#"["a:1"]"#,
            r#""refresh_interval": "1s""#,
            1,
            "refresh_interval",
        ),
        (
            r#"["a:1"]"#,
            r#""read_from": "replica""#,
            1,
            "needs replicas",
        ),
        (r#"["a:1"]"#, r#""slow_start": "1s""#, 1, "slow_start"),
        (
            r#"["a:1", {"address": "b:1", "role": "replica"}]"#,
            r#""read_from": "replica", "slow_start": "1s""#,
            0,
            "",
        ),
        (
            r#"["a:1", {"address": "b:1", "replica_of": "a:1"}]"#,
            r#""topology": "standalone""#,
            0,
            "",
        ),
        (
            r#"["a:1", {"address": "b:1", "replica_of": "c:1"}]"#,
            r#""read_from": "replica""#,
            1,
            "no primary",
        ),
        (
            r#"[{"address": "b:1", "role": "replica"}]"#,
            r#""topology": "standalone""#,
            1,
            "all endpoints are replicas",
        ),
        (
            r#"["a:1", {"address": "b:1", "role": "replica"}]"#,
            r#""topology": "redis_cluster""#,
            1,
            "found, and not listed",
        ),
        (
            r#"["a:1", {"address": "b:1", "role": "replica"}]"#,
            r#""topology": "shards""#,
            1,
            "none of the shards",
        ),
        (
            r#"["a:1", "b:1"]"#,
            r#""topology": "shards", "read_from": "prefer_replica""#,
            1,
            "needs replicas",
        ),
        (
            r#"["a:1", "b:1", {"address": "c:1", "replica_of": "a:1"}]"#,
            r#""topology": "shards", "read_from": "prefer_replica""#,
            0,
            "",
        ),
        (
            r#"["a:1", "b:1", {"address": "c:1", "replica_of": "a:1"}]"#,
            r#""topology": "shards", "read_from": "replica""#,
            1,
            "without replicas",
        ),
    ];
    for (endpoints, redis, expected, words) in cases {
        let text = format!(r#"{{"endpoints": {endpoints}, "redis": {{{redis}}}}}"#);
        let (config, mut diagnostics) = testing::read(&text);
        config.unwrap().check(&mut diagnostics);
        assert_eq!(diagnostics.count(), expected, "{text}");
        assert!(
            expected == 0 || diagnostics.render(false).contains(words),
            "{text}"
        );
    }
    let (config, diagnostics) = testing::read(
        r#"{"endpoints": [{"address": "a:1", "role": "primary", "replica_of": "b:1"}]}"#,
    );
    assert!(config.is_none());
    let error = diagnostics.render(false);
    assert!(error.contains("no replica of another"), "{error}");
}

#[test]
fn every_option_has_a_description() {
    let schema = schemars::schema_for!(ClusterConfig).to_value();
    let check = &schema["$defs"]["HealthCheckConfig"];
    for part in [
        &schema,
        check,
        &schema["$defs"]["EjectionConfig"],
        &schema["$defs"]["DnsConfig"],
        &schema["$defs"]["UpstreamHttp"],
        &schema["$defs"]["UpstreamKeepAlive"],
        &schema["$defs"]["UpstreamGuard"],
        &schema["$defs"]["UpstreamRedis"],
    ] {
        let properties = part["properties"].as_object().unwrap();
        assert!(!properties.is_empty());
        for (name, property) in properties {
            assert!(property["description"].is_string(), "{name}");
        }
    }
}
