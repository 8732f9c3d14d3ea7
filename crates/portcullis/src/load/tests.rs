//! What is reported about configurations, mistake by mistake.

use portcullis_net::AcceptBalance::{Exact, ReusePort};
use portcullis_proxy::TlsStart::{AtOnce, ByProtocol};

use portcullis_proxy::Registry;

use super::testing::{Late, model, read_text, read_with, registry};

/// Every error and warning as `line:column message`, in the order of the report.
fn said(text: &str) -> Vec<String> {
    said_by(&registry(), text)
}

/// As [`said`], with another registry.
fn said_by(registry: &Registry, text: &str) -> Vec<String> {
    let (model, report) = read_with(registry, text).into_parts();
    let errors = report.errors().count();
    assert_eq!(
        model.is_none(),
        errors > 0,
        "a model exactly without errors"
    );
    let json = report.json();
    json.as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            let place = |name: &str| entry[name].as_u64().unwrap_or(0);
            let level = if entry["level"] == "warning" {
                "warning: "
            } else {
                ""
            };
            let message = entry["message"].as_str().unwrap();
            format!("{}:{} {level}{message}", place("line"), place("column"))
        })
        .collect()
}

const CLUSTER: &str = "clusters: { a: { endpoints: [10.0.0.1:80] } }\n";

#[test]
fn mistakes_with_their_places() {
    let rows: &[(&str, &str, &[&str])] = &[
        (
            "nothing",
            "",
            &[
                "0:0 the configuration has no listeners",
                "2:13 warning: no listener uses cluster 'a'",
            ],
        ),
        (
            "an unknown key at the top",
            "listener: {}\nlisteners: { web: { listen: ':80', protocol: fake, cluster: a } }",
            &["1:1 unknown key 'listener', did you mean 'listeners'?"],
        ),
        (
            "a key of the listener, misspelt",
            "listeners:\n  web: { lisen: ':80', protocol: fake, cluster: a }",
            &["2:10 unknown key 'lisen', did you mean 'listen'?"],
        ),
        (
            "a key of the protocol, misspelt",
            "listeners:\n  web: { listen: ':80', protocol: fake, clutser: a }",
            &["2:41 unknown key 'clutser', did you mean 'cluster'?"],
        ),
        (
            "the protocol, misspelt, and what it does not have",
            "listeners:\n  web: { listen: ':80', protcol: fake, clutser: a, limits: { conections: 1 } }",
            &[
                "2:25 unknown key 'protcol', did you mean 'protocol'?",
                "2:40 unknown key 'clutser', did you mean 'cluster'?",
                "2:62 unknown key 'conections', did you mean 'connections'?",
            ],
        ),
        (
            "the key of an unknown protocol, misspelt",
            "listeners:\n  web: { listen: ':80', protcol: fkae, cluster: a }",
            &[
                "2:25 unknown key 'protcol', did you mean 'protocol'?",
                "2:34 unknown protocol 'fkae', did you mean 'fake'?",
            ],
        ),
        (
            "no protocol",
            "listeners:\n  web: { listen: ':80', cluster: a }",
            &["2:8 the key 'protocol' is missing here"],
        ),
        (
            "an unknown protocol",
            "listeners:\n  web: { listen: ':80', protocol: fkae, cluster: a }",
            &["2:35 unknown protocol 'fkae', did you mean 'fake'?"],
        ),
        (
            "an unknown cluster",
            "listeners:\n  web: { listen: ':80', protocol: fake, cluster: b }",
            &[
                "2:50 unknown cluster 'b'",
                "3:13 warning: no listener uses cluster 'a'",
            ],
        ),
        (
            "UDP, and HTTP/3 of what is no HTTP",
            "listeners:\n  web: { listen: 'udp://:80', protocol: fake, cluster: a, http3: true }",
            &[
                "2:18 fake cannot be spoken over udp://:80",
                "2:59 unknown key 'http3'",
            ],
        ),
        (
            "no connections at all",
            "limits: { connections: 0 }\nlisteners:\n  web: { listen: ':80', protocol: fake, cluster: a, limits: { connections: 0 } }",
            &[
                "1:24 the number 0 is out of range",
                "3:76 the number 0 is out of range",
            ],
        ),
        (
            "TLS without certificates, and with files that are not there",
            "listeners:\n  web: { listen: ':80', protocol: fake, cluster: a, tls: { certificates: [] } }\n  \
             more: { listen: ':81', protocol: fake, cluster: a, tls: { certificates: [{ cert: /none.pem, key: /none.key }] } }",
            &[
                "2:74 TLS needs a certificate",
                "3:84 /none.pem: cannot read it: No such file or directory (os error 2)",
            ],
        ),
        (
            "a port taken by another listener, and by the admin address",
            "listeners:\n  one: { listen: ':80', protocol: fake, cluster: a }\n  \
             two: { listen: 127.0.0.1:80, protocol: fake, cluster: a }\n  \
             three: { listen: ':9901', protocol: fake, cluster: a }",
            &[
                "3:18 listener 'two' cannot listen on 127.0.0.1:80: listener 'one' has :80",
                "4:20 listener 'three' cannot listen on :9901: the admin address has 127.0.0.1:9901",
            ],
        ),
        (
            "an admin address on the network",
            "admin: { listen: 0.0.0.0:9901 }\nlisteners: { web: { listen: ':80', protocol: fake, cluster: a } }",
            &[
                "1:18 admin.listen 0.0.0.0:9901 can be reached from other machines; anybody there could stop the gateway",
            ],
        ),
        (
            "an admin address on the network without a token",
            "admin: { listen: ':9901', danger_listen_on_network: true }\n\
             listeners: { web: { listen: ':80', protocol: fake, cluster: a } }",
            &[
                "1:18 admin.danger_listen_on_network needs admin.token: without it anybody could stop the gateway",
            ],
        ),
        (
            "tokens that anybody or nobody could give",
            "admin: { token: '' }\nlisteners: { web: { listen: ':80', protocol: fake, cluster: a } }",
            &["1:17 admin.token is empty"],
        ),
        (
            "a blank token",
            "admin: { token: '  ' }\nlisteners: { web: { listen: ':80', protocol: fake, cluster: a } }",
            &["1:17 admin.token is empty"],
        ),
        (
            "a token that no field can carry",
            "admin: { token: 'schlüssel' }\nlisteners: { web: { listen: ':80', protocol: fake, cluster: a } }",
            &["1:17 admin.token has something that no client can send as a token"],
        ),
        (
            "a token that ends with a space",
            "admin: { token: 'a b ' }\nlisteners: { web: { listen: ':80', protocol: fake, cluster: a } }",
            &["1:17 admin.token has something that no client can send as a token"],
        ),
        (
            "a token of two words",
            "admin: { token: 'a b' }\nlisteners: { web: { listen: ':80', protocol: fake, cluster: a } }",
            &[],
        ),
        (
            "PROXY headers of nobody, but of peers of a Unix socket",
            "listeners:\n  web: { listen: ':80', protocol: fake, cluster: a, proxy_protocol: { trusted: [] } }\n  \
             local: { listen: 'unix:/tmp/x', protocol: fake, cluster: a, proxy_protocol: { trusted: [] } }",
            &["2:80 nobody is trusted to send a PROXY header"],
        ),
        (
            "a name that cannot be a label",
            "listeners: { 'we b': { listen: ':80', protocol: fake, cluster: a } }",
            &["1:14 'we b' cannot be the name of a listener"],
        ),
        (
            "wrong kinds",
            "listeners: [1]\ndrain: 5",
            &[
                "1:12 listeners is a list",
                "2:8 expected a block of keys, found the number 5",
                "3:13 warning: no listener uses cluster 'a'",
            ],
        ),
        (
            "nothing to detect, and what cannot be",
            "listeners:\n  \
             none: { listen: ':80', protocol: detect, detect: { protocols: [] } }\n  \
             mute:\n    listen: ':81'\n    protocol: detect\n    detect:\n      protocols:\n        \
             - { protocol: fake, cluster: a }\n        - { protocol: fake, cluster: b }\n  \
             odd: { listen: ':82', protocol: detect, detect: { protocols: [{ protocol: fkae }], timeuot: 1s } }",
            &[
                "2:65 there is nothing to detect",
                "8:11 fake cannot be recognised by its first bytes",
                "9:38 unknown cluster 'b'",
                "10:77 unknown protocol 'fkae', did you mean 'fake'?",
                "10:86 unknown key 'timeuot', did you mean 'timeout'?",
            ],
        ),
        (
            "syntax",
            "listeners: {",
            &["1:12 this is not valid YAML: unclosed bracket '{'"],
        ),
    ];
    for (row, text, expected) in rows {
        assert_eq!(said(&format!("{text}\n{CLUSTER}")), *expected, "{row}");
    }
}

#[test]
fn clusters_are_checked_too() {
    let rows: &[(&str, &str, &[&str])] = &[
        (
            "none that is used",
            "clusters: {}",
            &["1:61 unknown cluster 'a'"],
        ),
        (
            "an empty one",
            "clusters: { a: { endpoints: [] } }",
            &["2:29 a cluster needs at least one endpoint"],
        ),
        (
            "one that nobody uses",
            "clusters: { a: { endpoints: [':1:80'] }, b: { endpoints: [10.0.0.1:80] } }",
            &[
                "2:30 ':1' is not an address or host name, expected an address such as 10.0.0.1:8080, \
                 api.example.com:8080 or unix:/run/api.sock",
                "2:42 warning: no listener uses cluster 'b'",
            ],
        ),
        (
            "a name twice",
            "clusters:\n  a: { endpoints: [10.0.0.1:80] }\n  a: { endpoints: [10.0.0.2:80] }",
            &["4:3 the key 'a' is given twice"],
        ),
    ];
    for (row, text, expected) in rows {
        let listeners = "listeners: { web: { listen: ':80', protocol: fake, cluster: a } }";
        assert_eq!(said(&format!("{listeners}\n{text}\n")), *expected, "{row}");
    }
}

#[test]
fn the_report_shows_every_mistake_with_its_line() {
    let text = "\
listeners:
  web:
    lisen: 127.0.0.1:8080
    protocol: fake
    cluster: api
  ssh: { listen: ':22', protocol: ssh }
drain: { timeout: soon }
clusters:
  apl: { endpoints: [10.0.0.1:80] }
";
    let (_, report) = read_text(text).into_parts();
    let expected = "\
error: unknown key 'lisen', did you mean 'listen'?
 --> portcullis.yaml:3:5
  |
3 |     lisen: 127.0.0.1:8080
  |     ^^^^^ expected one of 'listen', 'protocol', 'limits', 'balance', 'proxy_protocol', 'tls', 'socket', 'cluster' or 'greeting'

error: unknown cluster 'api', did you mean 'apl'?
 --> portcullis.yaml:5:14
  |
5 |     cluster: api
  |              ^^^

error: unknown protocol 'ssh'
 --> portcullis.yaml:6:35
  |
6 |   ssh: { listen: ':22', protocol: ssh }
  |                                   ^^^ expected one of fake, detect

error: 'soon' is not a duration
 --> portcullis.yaml:7:19
  |
7 | drain: { timeout: soon }
  |                   ^^^^ expected a duration such as 5s, 250ms or 1m30s

warning: portcullis.yaml:9:3: no listener uses cluster 'apl'

4 errors in the configuration
";
    assert_eq!(report.text(false), expected);
}

#[test]
fn a_whole_configuration() {
    let model = model(
        "
admin: { listen: 127.0.0.1:0, token: secret }
runtime: { workers: { count: 3, pin: true } }
limits: { connections: 1000 }
drain: { timeout: 10s, spread: 1s }
listeners:
  web:
    listen: 127.0.0.1:${PORT}
    protocol: fake
    cluster: api
    greeting: ${GREETING:-hello}
    balance: exact
    limits: { connections: 10 }
clusters:
  api: { endpoints: [10.0.0.1:80] }
",
    );
    assert_eq!(model.admin.token.as_deref(), Some("secret"));
    assert_eq!(model.runtime.workers.count.map(usize::from), Some(3));
    assert_eq!(model.limits.connections.map(u64::from), Some(1000));
    assert_eq!(model.drain.timeout.get().as_secs(), 10);
    let web = &model.listeners["web"];
    assert_eq!(web.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(web.balance, Exact);
    assert_eq!(web.limits.connections.map(u64::from), Some(10));
    assert_eq!(web.protocol.protocol(), "fake");
    assert!(model.clusters.contains_key("api"));
    assert_eq!(
        model.document["listeners"]["web"]["listen"], "127.0.0.1:${PORT}",
        "the environment is not shown"
    );
}

/// A listener with another protocol; `LATE` and `FAKE` stand for entries of `detect`.
fn listener(keys: &str) -> String {
    let keys = keys
        .replace("LATE", "{ protocol: late, cluster: a }")
        .replace("FAKE", "{ protocol: fake, cluster: a }");
    format!(
        "
listeners:
  web: {{ listen: ':80', {keys} }}
clusters:
  a: {{ endpoints: [10.0.0.1:80] }}
"
    )
}

#[test]
fn a_protocol_says_how_its_connections_begin() {
    let registry = registry().with::<Late>();
    for (keys, start, balance) in [
        ("protocol: fake, cluster: a", Some(AtOnce), ReusePort),
        ("protocol: late, cluster: a", Some(ByProtocol), Exact),
        (
            "protocol: late, cluster: a, balance: reuse_port",
            Some(ByProtocol),
            ReusePort,
        ),
        (
            "protocol: detect, detect: { protocols: [LATE, FAKE] }",
            None,
            Exact,
        ),
        (
            "protocol: detect, detect: { protocols: [LATE] }",
            Some(ByProtocol),
            Exact,
        ),
        (
            "protocol: detect, detect: { protocols: [FAKE] }",
            Some(AtOnce),
            ReusePort,
        ),
    ] {
        let loaded = read_with(&registry, &listener(keys));
        let model = loaded
            .into_result()
            .unwrap_or_else(|report| panic!("{keys}: {}", report.text(false)));
        let web = &model.listeners["web"];
        assert_eq!(web.protocol.tls_start(), start, "{keys}");
        assert_eq!(web.balance, balance, "{keys}");
    }
}

#[test]
fn a_listener_with_tls_begins_it_in_one_way() {
    let registry = registry().with::<Late>();
    for (protocols, is_refused) in [("[LATE, FAKE]", true), ("[LATE]", false), ("[FAKE]", false)] {
        let text = listener(&format!(
            "protocol: detect, detect: {{ protocols: {protocols} }}, tls: {{ certificates: [] }}"
        ));
        let (_, report) = read_with(&registry, &text).into_parts();
        let report = report.text(false);
        let refusal = "some of these protocols begin with TLS";
        assert_eq!(
            report.contains(refusal),
            is_refused,
            "{protocols}: {report}"
        );
    }
}

#[test]
fn http3_needs_what_quic_needs() {
    let listener = |keys: &str| format!("listeners:\n  web: {{ {keys} }}\n{CLUSTER}");
    let http = "listen: ':80', protocol: http, cluster: a";
    let rows: [(&str, String, &[&str]); 5] = [
        (
            "without TLS",
            listener(&format!("{http}, http3: true")),
            &["2:60 HTTP/3 is always encrypted, and there is no `tls`"],
        ),
        (
            "switched off",
            listener(&format!("{http}, http3: false")),
            &[],
        ),
        (
            "over a Unix socket",
            listener("listen: 'unix:/tmp/x', protocol: http, cluster: a, http3: true"),
            &[
                "2:18 http cannot be spoken over unix:/tmp/x",
                "2:68 HTTP/3 is always encrypted, and there is no `tls`",
            ],
        ),
        (
            "something else",
            listener(&format!("{http}, http3: 3")),
            &["2:60 http3 is the number 3"],
        ),
        (
            "among protocols to be detected",
            listener(
                "listen: ':80', protocol: detect, detect: { protocols: [{ protocol: http, cluster: a, http3: true }] }",
            ),
            &["2:77 http speaks over datagrams here, and only connections can be looked at"],
        ),
    ];
    let registry = crate::protocols::registry();
    for (name, text, expected) in rows {
        assert_eq!(said_by(&registry, &text), expected, "{name}");
    }
}
