//! The admin address: who may ask, and what is answered (tests/ATTACKS.md F13, F14).

use harness::{Client, Gateway, Origin, RawResponse, Reply};
use serde_json::Value;

use crate::support::Site;

fn site() -> (Origin, crate::support::Running) {
    let origin = Origin::http(|_| Reply::ok("x"));
    let site = Site::new(&origin).start();
    (origin, site)
}

#[track_caller]
fn ask(gateway: &Gateway, method: &str, target: &str, fields: &str) -> RawResponse {
    let mut client = Client::connect(gateway.admin());
    client.send(format!(
        "{method} {target} HTTP/1.1\r\n{fields}content-length: 0\r\nconnection: close\r\n\r\n"
    ));
    client.read_response()
}

#[test]
fn everything_is_shown() {
    let (origin, site) = site();
    let rows = [
        ("/", "portcullis"),
        ("/stats", "portcullis_http_requests_total"),
        (
            "/stats/prometheus",
            "# TYPE portcullis_http_requests_total counter",
        ),
        ("/metrics", "# TYPE portcullis_http_requests_total counter"),
        ("/clusters", "site::"),
        ("/listeners", "web::127.0.0.1:"),
        ("/livez", "LIVE"),
    ];
    for (target, text) in rows {
        let response = site.admin_get(target);
        assert_eq!(response.status, 200, "{target}");
        assert!(
            response.text().contains(text),
            "{target}: {}",
            response.text()
        );
    }
    let dump: Value = serde_json::from_slice(&site.admin_get("/config_dump").body).unwrap();
    let endpoint = origin.address().to_string();
    assert_eq!(
        dump["config"]["clusters"]["site"]["endpoints"][0],
        Value::from(endpoint.clone())
    );
    let clusters: Value =
        serde_json::from_slice(&site.admin_get("/clusters?format=json").body).unwrap();
    assert!(clusters.to_string().contains(&endpoint), "{clusters}");
    let info: Value = serde_json::from_slice(&site.admin_get("/server_info").body).unwrap();
    assert_eq!(info["pid"], site.pid());
    let stats: Value = serde_json::from_slice(&site.admin_get("/stats?format=json").body).unwrap();
    assert!(stats.is_object() || stats.is_array());
    let filtered = site.admin_get("/stats?filter=build_info").text();
    assert!(
        filtered.contains("portcullis_build_info") && !filtered.contains("http_requests"),
        "{filtered}"
    );
    assert_eq!(site.admin_get("/nothing").status, 404);
}

/// F14: what changes something is a POST.
#[test]
fn f14_mutations_are_post() {
    let (_origin, site) = site();
    for target in [
        "/quitquitquit",
        "/drain_listeners",
        "/reload",
        "/healthcheck/fail",
        "/healthcheck/ok",
        "/logging?level=debug",
    ] {
        assert_eq!(site.admin_get(target).status, 405, "{target}");
    }
    assert_eq!(site.admin_get("/ready").status, 200);
    site.neighbour_is_well();
}

/// F14: a page that a browser was led to can neither read nor change anything.
#[test]
fn f14_browsers_are_kept_out() {
    let (_origin, site) = site();
    for host in ["rebound.example.com", "attacker.test:9901"] {
        assert_eq!(
            ask(&site, "GET", "/config_dump", &format!("host: {host}\r\n")).status,
            403,
            "{host}"
        );
    }
    let fields = "host: localhost\r\norigin: https://evil.test\r\n";
    assert_eq!(ask(&site, "POST", "/quitquitquit", fields).status, 403);
    assert_eq!(
        ask(&site, "GET", "/ready", "host: localhost\r\n").status,
        200
    );
    site.neighbour_is_well();
}

/// F14: with a token, changes need it; looking does not.
#[test]
fn f14_token() {
    let origin = Origin::http(|_| Reply::ok("x"));
    let beside = Origin::http(|_| Reply::ok("x"));
    let yaml = Site::new(&origin).yaml(&beside);
    let config = format!("{yaml}admin: {{ listen: 127.0.0.1:0, token: \"${{ADMIN_TOKEN}}\" }}\n");
    let gateway = Gateway::start_with(&config, |command| {
        command.env("ADMIN_TOKEN", "correct horse");
    });
    let host = "host: localhost\r\n";
    let rows = [
        ("none", String::new(), 401),
        ("wrong", "authorization: Bearer wrong\r\n".to_owned(), 401),
        (
            "prefix",
            "authorization: Bearer correct\r\n".to_owned(),
            401,
        ),
        (
            "other scheme",
            "authorization: Basic correct horse\r\n".to_owned(),
            401,
        ),
        (
            "right",
            "authorization: Bearer correct horse\r\n".to_owned(),
            200,
        ),
    ];
    for (name, field, status) in rows {
        let response = ask(
            &gateway,
            "POST",
            "/healthcheck/ok",
            &format!("{host}{field}"),
        );
        assert_eq!(response.status, status, "{name}");
    }
    let dump = ask(&gateway, "GET", "/config_dump", host);
    assert_eq!(dump.status, 200);
    assert!(!dump.text().contains("correct horse"), "the token is shown");
}

#[test]
fn health_can_be_failed_by_hand() {
    let (_origin, site) = site();
    assert_eq!(site.admin_post("/healthcheck/fail").status, 200);
    assert_eq!(site.admin_get("/ready").status, 503);
    assert_eq!(site.admin_get("/livez").status, 200);
    site.neighbour_is_well();
    assert_eq!(site.admin_post("/healthcheck/ok").status, 200);
    assert_eq!(site.admin_get("/ready").status, 200);
}

#[test]
fn log_level_can_be_changed() {
    let (_origin, site) = site();
    assert_eq!(site.admin_post("/logging?level=debug").status, 200);
    assert_eq!(
        site.admin_post("/logging?level=nonsense=nonsense").status,
        400
    );
}

/// F13, F14: what cannot be honoured is an error at the start, with its place.
#[test]
fn f13_start_up_errors() {
    let listener = |keys: &str| {
        format!(
            "listeners:\n  web:\n    protocol: http\n    cluster: site\n    {keys}\nclusters:\n  site: {{ endpoints: [127.0.0.1:1] }}\n"
        )
    };
    let fine = "listen: 127.0.0.1:0";
    let rows = [
        (
            "UDP",
            listener("listen: udp://127.0.0.1:0"),
            "cannot be spoken over udp://",
        ),
        (
            "TLS",
            listener(&format!("{fine}\n    tls: {{ certificates: [] }}")),
            "TLS",
        ),
        (
            "HTTP/3",
            listener(&format!("{fine}\n    http3: true")),
            "HTTP/3",
        ),
        (
            "unknown key",
            listener(&format!("{fine}\n    lisen: x")),
            "did you mean",
        ),
        (
            "unknown protocol",
            listener(fine).replace("protocol: http", "protocol: htp"),
            "did you mean",
        ),
        (
            "unknown cluster",
            listener(fine).replace("cluster: site", "cluster: sit"),
            "did you mean",
        ),
        (
            "admin on the network",
            format!("{}admin: {{ listen: 0.0.0.0:0 }}\n", listener(fine)),
            "other machines",
        ),
        (
            "admin on the network without a token",
            format!(
                "{}admin: {{ listen: 0.0.0.0:0, danger_listen_on_network: true }}\n",
                listener(fine)
            ),
            "token",
        ),
        ("no listeners", "clusters: {}\n".to_owned(), "no listeners"),
        ("not YAML", "listeners: [\n".to_owned(), "portcullis.yaml"),
    ];
    for (name, config, text) in rows {
        let exit = Gateway::run(&config);
        assert_eq!(exit.code(), Some(78), "{name}: {:#?}", exit.stderr);
        let said = exit.stderr.iter().any(|line| line.contains(text));
        assert!(said, "{name}: {:#?}", exit.stderr);
        assert!(
            exit.stderr
                .iter()
                .all(|line| !line.contains("ready admin=")),
            "{name}"
        );
    }
}

/// A port that is taken is an error that names it, and it is not the configuration's.
#[test]
fn taken_port() {
    let origin = Origin::http(|_| Reply::ok("x"));
    let beside = Origin::http(|_| Reply::ok("x"));
    let address = origin.address().to_string();
    let config = Site::new(&origin)
        .yaml(&beside)
        .replacen("127.0.0.1:0", &address, 1);
    let exit = Gateway::run(&config);
    assert_eq!(exit.code(), Some(1), "{:#?}", exit.stderr);
    assert!(
        exit.stderr.iter().any(|line| line.contains(&address)),
        "{:#?}",
        exit.stderr
    );
}

/// A unix socket serves as well as a port.
#[test]
fn admin_on_a_unix_socket() {
    let origin = Origin::http(|_| Reply::ok("x"));
    let beside = Origin::http(|_| Reply::ok("x"));
    let scratch = harness::Scratch::new();
    let path = scratch.path().join("admin.sock");
    let config = format!(
        "{}admin: {{ listen: \"unix:{}\" }}\n",
        Site::new(&origin).yaml(&beside),
        path.display()
    );
    let gateway = Gateway::start(&config);
    let mut client = Client::connect_unix(&path);
    client.send("GET /ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    assert_eq!(client.read_response().status, 200);
    assert_eq!(gateway.connect("web").get("/", "a").status, 200);
}
