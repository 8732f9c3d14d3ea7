//! One listener for several protocols: the first bytes say which, and a client that says nothing gets the last.

use harness::{Client, Gateway, Origin, Reply};

const HANDED: &str = "portcullis_detect_connections_total";
const REFUSED: &str = "portcullis_detect_refused_total";

/// A gateway whose listener `any` finds out what its clients speak, and a listener `beside` that is told.
struct Detecting {
    gateway: Gateway,
    neighbour: Client,
    site: Origin,
    _echo: Origin,
}

impl Detecting {
    #[track_caller]
    fn start(timeout: &str, fallback: &str) -> Self {
        let site = Origin::http(|request| Reply::ok(format!("site {}", request.target)));
        let echo = Origin::echo();
        let gateway = Gateway::start(&format!(
            "listeners:
  any:
    listen: 127.0.0.1:0
    protocol: detect
    detect:
      timeout: {timeout}
      protocols:
        - {{ protocol: http, routes: [{{ cluster: site }}] }}
{fallback}
  beside: {{ listen: 127.0.0.1:0, protocol: tcp, cluster: echo }}
clusters:
  site: {{ endpoints: [{}] }}
  echo: {{ endpoints: [{}] }}
",
            site.address(),
            echo.address()
        ));
        let neighbour = gateway.connect("beside");
        let mut detecting = Self {
            gateway,
            neighbour,
            site,
            _echo: echo,
        };
        detecting.neighbour_is_well();
        detecting
    }

    #[track_caller]
    fn client(&self) -> Client {
        self.gateway.connect("any")
    }

    #[track_caller]
    fn neighbour_is_well(&mut self) {
        self.neighbour.send("well");
        assert_eq!(self.neighbour.read_exact(4), b"well");
    }

    #[track_caller]
    fn wait_handed(&self, protocol: &str, count: u64) {
        let labels = [("listener", "any"), ("protocol", protocol)];
        self.gateway
            .wait_stat(HANDED, &labels, |value| value == count);
    }

    #[track_caller]
    fn wait_refused(&self, reason: &str, count: u64) {
        let labels = [("listener", "any"), ("reason", reason)];
        self.gateway
            .wait_stat(REFUSED, &labels, |value| value == count);
    }
}

const TCP: &str = "        - { protocol: tcp, cluster: echo }";

#[test]
fn each_client_gets_its_protocol() {
    let mut detecting = Detecting::start("10m", TCP);
    let mut http = detecting.client();
    assert_eq!(http.get("/1", "a").text(), "site /1");
    assert_eq!(http.get("/2", "a").text(), "site /2", "kept");
    detecting.wait_handed("http", 1);

    let mut tcp = detecting.client();
    tcp.send("\x16\x03\x01 no HTTP at all");
    assert_eq!(tcp.read_exact(18), b"\x16\x03\x01 no HTTP at all");
    detecting.wait_handed("tcp", 1);

    // What decides may come byte by byte, and none of it is lost.
    let mut slow = detecting.client();
    slow.send_in_pieces("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n", 1);
    assert_eq!(slow.read_response().text(), "site /slow");
    detecting.wait_handed("http", 2);
    assert_eq!(detecting.site.requests(), 3);

    let stats = detecting.gateway.stats();
    assert_eq!(stats.counter(REFUSED, &[("listener", "any")]), 0);
    assert_eq!(tcp.send("more").read_exact(4), b"more", "still open");
    detecting.neighbour_is_well();
}

/// A client that waits for the server to speak first is TCP's, after a while.
#[test]
fn silence_is_for_the_last() {
    let mut detecting = Detecting::start("200ms", TCP);
    let mut client = detecting.client();
    detecting.wait_handed("tcp", 1);
    let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    client.send(request);
    let echoed = client.read_exact(request.len());
    assert_eq!(echoed, request, "the choice is made once");
    assert_eq!(detecting.site.requests(), 0);
    detecting.neighbour_is_well();
}

/// Without a last resort, what is not recognised is closed and counted.
#[test]
fn nobody_takes_what_is_not_recognised() {
    let mut detecting = Detecting::start("10m", "");
    let mut client = detecting.client();
    client.send("\x16\x03\x01\x02\x00");
    client.expect_gone();
    detecting.wait_refused("sniff_no_match", 1);

    let mut leaving = detecting.client();
    leaving.half_close().expect_closed();
    detecting.wait_refused("sniff_closed", 1);

    assert_eq!(detecting.client().get("/", "a").text(), "site /");
    detecting.wait_handed("http", 1);
    detecting.neighbour_is_well();
}

/// Nor what says nothing in time.
#[test]
fn nobody_takes_silence() {
    let mut detecting = Detecting::start("200ms", "");
    detecting.client().expect_closed();
    detecting.wait_refused("sniff_timeout", 1);
    detecting.neighbour_is_well();
}
