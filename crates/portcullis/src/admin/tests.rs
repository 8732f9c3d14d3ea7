//! The endpoints, asked without a socket.

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::response::Response;
use http_body_util::BodyExt as _;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use portcullis_cluster::ClusterShared;
use portcullis_filter::SharedStore;
use portcullis_net::clock;
use portcullis_stats::Registry;
use serde_json::Value;
use tokio::sync::mpsc;

use super::{Admin, ControlRequest, ListenerView, Readiness, Refused, Running, router};
use crate::gateway::plan::Changes;
use crate::load::testing::{Late, LateCommon, model, registry};
use crate::logs::ProcessLog;

const CONFIG: &str = "
admin: { token: s3cret }
listeners: { web: { listen: '127.0.0.1:${PORT}', protocol: fake, cluster: api } }
clusters: { api: { endpoints: [10.0.0.1:80, { address: 10.0.0.2:80, weight: 3, role: replica }] } }
";

struct Fixture {
    admin: Arc<Admin>,
    requests: mpsc::Receiver<ControlRequest>,
}

fn fixture() -> Fixture {
    let stats = Registry::new(1);
    stats
        .shard(0)
        .counter(
            "portcullis_test_total",
            "For a test.",
            &[("listener", "web")],
        )
        .inc();
    let model = Arc::new(model(CONFIG));
    let config = Arc::clone(&model.clusters["api"]);
    let resolution = portcullis_cluster::Resolution::new(&config, clock::now());
    let cluster = ClusterShared::new("api", config, resolution.endpoints(), clock::now());
    let running = Running {
        listeners: vec![ListenerView {
            name: "web".into(),
            address: "127.0.0.1:8080".to_owned(),
            protocol: "fake",
        }],
        clusters: vec![cluster],
        model,
        generation: 7,
        since: clock::wall(),
    };
    let (sender, requests) = mpsc::channel(1);
    let admin = Arc::new(Admin {
        readiness: Readiness::new(stats.shared_gauge("portcullis_ready", "Ready.", &[])),
        uptime: stats.shared_gauge("portcullis_uptime_seconds", "Uptime.", &[]),
        stats,
        running: ArcSwap::from_pointee(running),
        requests: sender,
        log: ProcessLog::none(),
        started: clock::now(),
        workers: 2,
        registry: registry().with_control::<Late>(),
        shared: SharedStore::new(),
    });
    Fixture { admin, requests }
}

impl Fixture {
    async fn ask(&self, method: &str, target: &str) -> (StatusCode, String) {
        let response = self.response(method, target).await;
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn response(&self, method: &str, target: &str) -> Response {
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header("host", "127.0.0.1:9901")
            .header("authorization", "Bearer s3cret")
            .body(Body::empty())
            .unwrap();
        let service = TowerToHyperService::new(router(Arc::clone(&self.admin)));
        service.call(request).await.unwrap()
    }

    async fn json(&self, target: &str) -> Value {
        serde_json::from_str(&self.ask("GET", target).await.1).unwrap()
    }
}

fn on_runtime(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(test);
}

#[test]
fn readiness_follows_the_state_and_the_operator() {
    on_runtime(async {
        let fixture = fixture();
        type Step = (&'static str, u16, &'static str, fn(&Admin));
        let steps: [Step; 4] = [
            ("starting", 503, "PRE_INITIALIZING\n", |_| {}),
            ("started", 200, "LIVE\n", |admin| {
                admin.readiness.on_started();
            }),
            ("failed by hand", 503, "DRAINING\n", |admin| {
                admin.readiness.set_failed(true);
            }),
            ("draining", 503, "DRAINING\n", |admin| {
                admin.readiness.set_failed(false);
                admin.readiness.on_draining();
            }),
        ];
        for (row, status, text, step) in steps {
            step(&fixture.admin);
            for target in ["/ready", "/readyz"] {
                let (got, body) = fixture.ask("GET", target).await;
                assert_eq!(
                    (got.as_u16(), body.as_str()),
                    (status, text),
                    "{row} {target}"
                );
            }
            assert_eq!(
                fixture.ask("GET", "/livez").await.0,
                StatusCode::OK,
                "{row}"
            );
        }
    });
}

#[test]
fn health_can_be_failed_and_restored() {
    on_runtime(async {
        let fixture = fixture();
        fixture.admin.readiness.on_started();
        for (target, ready) in [("/healthcheck/fail", false), ("/healthcheck/ok", true)] {
            assert_eq!(fixture.ask("POST", target).await.0, StatusCode::OK);
            assert_eq!(fixture.admin.readiness.is_ready(), ready, "{target}");
        }
    });
}

#[test]
fn statistics_in_three_forms() {
    on_runtime(async {
        let fixture = fixture();
        let series = "portcullis_test_total{listener=\"web\"}";
        for (target, expected) in [
            ("/stats", format!("{series}: 1")),
            ("/stats?format=prometheus", format!("{series} 1")),
            ("/metrics", format!("{series} 1")),
            ("/stats/prometheus?filter=test", format!("{series} 1")),
            ("/stats?format=json", "portcullis_test_total".to_owned()),
        ] {
            let (status, text) = fixture.ask("GET", target).await;
            assert_eq!(status, StatusCode::OK, "{target}");
            assert!(text.contains(&expected), "{target}: {text}");
        }
        let (_, text) = fixture.ask("GET", "/metrics?filter=uptime").await;
        assert!(!text.contains("portcullis_test_total"), "{text}");
        assert_eq!(
            fixture.ask("GET", "/stats?format=xml").await.0,
            StatusCode::BAD_REQUEST
        );
    });
}

#[test]
fn clusters_and_listeners() {
    on_runtime(async {
        let fixture = fixture();
        let (_, text) = fixture.ask("GET", "/clusters").await;
        let expected = "\
api::panic::false
api::10.0.0.1:80::health::healthy
api::10.0.0.1:80::ejected::false
api::10.0.0.1:80::active::0
api::10.0.0.1:80::weight::1
api::10.0.0.2:80::health::healthy
api::10.0.0.2:80::ejected::false
api::10.0.0.2:80::active::0
api::10.0.0.2:80::weight::3
api::10.0.0.2:80::role::replica
";
        assert_eq!(text, expected);
        let json = fixture.json("/clusters?format=json").await;
        let second = &json["clusters"][0]["endpoints"][1];
        assert_eq!(second["weight"], 3);
        assert_eq!(second["role"], "replica");
        assert_eq!(second["replication"]["lag_ms"], Value::Null);
        assert_eq!(fixture.ask("GET", "/clusters?filter=other").await.1, "");
        assert_eq!(
            fixture.ask("GET", "/listeners").await.1,
            "web::127.0.0.1:8080\n"
        );
        let json = fixture.json("/listeners?format=json").await;
        assert_eq!(json["listeners"][0]["protocol"], "fake");
    });
}

#[test]
fn the_dump_hides_secrets() {
    on_runtime(async {
        let fixture = fixture();
        let dump = fixture.json("/config_dump").await;
        assert_eq!(dump["generation"], 7);
        assert_eq!(
            dump["config"]["listeners"]["web"]["listen"],
            "127.0.0.1:${PORT}"
        );
        assert!(!dump.to_string().contains("s3cret"), "{dump}");
        assert_eq!(fixture.json("/server_info").await["workers"], 2);
    });
}

#[test]
fn what_is_secret_is_told_by_its_key() {
    for (key, expected) in [
        ("sentinel_password", true),
        ("Set-Cookie", true),
        ("x-auth-token", true),
        ("api_key", true),
        ("X-API-Key", true),
        ("client_secret", true),
        ("listen", false),
        ("key", false),
    ] {
        assert_eq!(super::views::is_secret(key), expected, "{key}");
    }
}

#[test]
fn a_reload_is_answered_by_the_control_loop() {
    on_runtime(async {
        let mut fixture = fixture();
        let mut changes = Changes::default();
        changes.listeners.added.push("web".into());
        let answers = [
            (Ok(changes), StatusCode::OK, r#""added":["web"]"#),
            (
                Err(Refused("no\n".to_owned())),
                StatusCode::UNPROCESSABLE_ENTITY,
                "no\n",
            ),
        ];
        for (answer, status, text) in answers {
            let Fixture { admin, requests } = &mut fixture;
            let asking = Fixture {
                admin: Arc::clone(admin),
                requests: mpsc::channel(1).1,
            };
            let control = async {
                match requests.recv().await {
                    Some(ControlRequest::Reload(sender)) => sender.send(answer).unwrap(),
                    request => panic!("{request:?}"),
                }
            };
            let (got, ()) = tokio::join!(asking.ask("POST", "/reload"), control);
            assert_eq!(got.0, status);
            assert!(got.1.contains(text), "{}", got.1);
        }
    });
}

#[test]
fn changes_are_post_only_and_reach_the_control_loop() {
    on_runtime(async {
        let mut fixture = fixture();
        for target in [
            "/quitquitquit",
            "/drain_listeners",
            "/reload",
            "/healthcheck/fail",
            "/logging?level=info",
        ] {
            let (status, _) = fixture.ask("GET", target).await;
            assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "F14 {target}");
        }
        assert!(fixture.requests.try_recv().is_err(), "nothing has happened");
        fixture.ask("POST", "/drain_listeners").await;
        assert!(matches!(
            fixture.requests.recv().await,
            Some(ControlRequest::DrainListeners)
        ));
        fixture.ask("POST", "/quitquitquit").await;
        assert!(matches!(
            fixture.requests.recv().await,
            Some(ControlRequest::Quit)
        ));
    });
}

/// RFC 9110 section 15.5.6.
#[test]
fn a_405_says_what_is_allowed() {
    on_runtime(async {
        let fixture = fixture();
        for (method, target, expected) in [
            ("GET", "/quitquitquit", "POST"),
            ("POST", "/stats", "GET,HEAD"),
            ("DELETE", "/", "GET,HEAD"),
            ("PUT", "/late/statements", "GET, HEAD, POST"),
        ] {
            let response = fixture.response(method, target).await;
            assert_eq!(
                response.status(),
                StatusCode::METHOD_NOT_ALLOWED,
                "{target}"
            );
            assert_eq!(response.headers()["allow"], expected, "{method} {target}");
        }
    });
}

#[test]
fn log_levels_are_checked() {
    on_runtime(async {
        let fixture = fixture();
        assert_eq!(
            fixture.ask("POST", "/logging?level=debug").await.0,
            StatusCode::OK
        );
        assert_eq!(
            fixture.ask("POST", "/logging?level=loud").await.0,
            StatusCode::BAD_REQUEST
        );
        assert_eq!(
            fixture.ask("POST", "/logging").await.0,
            StatusCode::BAD_REQUEST
        );
    });
}

#[test]
fn protocols_answer_for_themselves() {
    on_runtime(async {
        let fixture = fixture();
        let shared = &fixture.admin.shared;
        let common = shared.of("listeners.web".to_owned(), LateCommon::default);
        common
            .begun
            .fetch_add(3, std::sync::atomic::Ordering::Relaxed);
        let (_, index) = fixture.ask("GET", "/").await;
        assert!(
            index.contains("GET  /late/statements?format=text|json\n"),
            "{index}"
        );
        for (method, target, status, expected) in [
            ("GET", "/late/statements", 200, "begun 3\n"),
            ("GET", "/late/statements?format=json", 200, "{\"begun\":3}"),
            ("GET", "/late/statements?wrong=a%20b", 400, "a b is wrong\n"),
            ("GET", "/late/other", 404, "nothing is here\n"),
            ("GET", "/late", 404, "nothing is here\n"),
            ("GET", "/fake/statements", 404, "nothing is here\n"),
            ("GET", "/nobody/statements", 404, "nothing is here\n"),
            ("PUT", "/late/statements", 405, ""),
        ] {
            let (answered, text) = fixture.ask(method, target).await;
            assert_eq!((answered.as_u16(), &*text), (status, expected), "{target}");
        }
    });
}
