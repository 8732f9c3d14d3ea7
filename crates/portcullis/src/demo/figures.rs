//! A line of live figures each second, read from the gateway's own admin address as any monitoring would.
//!
//! Start at [`start`].

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

/// Starts printing on a thread of its own.
pub(super) fn start(admin: SocketAddr) -> io::Result<()> {
    thread::Builder::new()
        .name("demo-figures".to_owned())
        .spawn(move || {
            let mut last = Figures::default();
            loop {
                thread::sleep(Duration::from_secs(1));
                // Before the gateway is up, and while it drains, there is nothing to show.
                let Ok(text) = fetch(admin) else { continue };
                let now = Figures::read(&text);
                if writeln!(io::stdout(), "{}", now.line(&last)).is_err() {
                    return;
                }
                last = now;
            }
        })?;
    Ok(())
}

fn fetch(admin: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(admin)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    write!(
        stream,
        "GET /metrics HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n"
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// What the line shows: sums over all series of a family.
#[derive(Default, Clone, Copy)]
struct Figures {
    requests: f64,
    good: f64,
    bad: f64,
    retries: f64,
    limited: f64,
    active: f64,
    connections: f64,
    echoed: f64,
}

impl Figures {
    fn read(metrics: &str) -> Self {
        let sum = |family: &str, label: &str| sum(metrics, family, label);
        Self {
            requests: sum("portcullis_http_requests_total", ""),
            good: sum("portcullis_http_responses_total", "code_class=\"2xx\""),
            bad: sum("portcullis_http_responses_total", "code_class=\"5xx\""),
            retries: sum("portcullis_http_retries_total", ""),
            limited: sum(
                "portcullis_http_local_replies_total",
                "reason=\"rate_limited\"",
            ),
            active: sum("portcullis_http_requests_active", ""),
            connections: sum("portcullis_tcp_connections_active", ""),
            echoed: sum("portcullis_tcp_bytes_total", ""),
        }
    }

    fn line(&self, last: &Self) -> String {
        format!(
            "http {:>5.0} req/s  ok {:>6.0}  5xx {:>4.0}  retries {:>4.0}  429 {:>4.0}  active {:>2.0} | tcp {:>2.0} open  {:>7.0} bytes",
            self.requests - last.requests,
            self.good,
            self.bad,
            self.retries,
            self.limited,
            self.active,
            self.connections,
            self.echoed,
        )
    }
}

/// The sum of the samples of one family whose labels contain `label`.
fn sum(metrics: &str, family: &str, label: &str) -> f64 {
    metrics
        .lines()
        .filter_map(|line| {
            let rest = line.strip_prefix(family)?;
            let (labels, value) = rest.rsplit_once(' ')?;
            let is_family = labels.is_empty() || labels.starts_with('{');
            (is_family && labels.contains(label)).then(|| value.parse::<f64>().ok())?
        })
        // Starting from +0: the sum of nothing is -0.
        .fold(0.0, |total, value| total + value)
}

#[cfg(test)]
mod tests {
    use super::sum;

    #[test]
    fn samples_are_summed_by_family_and_label() {
        let text =
            "# HELP a_total x\na_total{k=\"1\"} 2\na_total{k=\"2\"} 3\na_total_more 9\nb 4\n";
        for (family, label, expected) in [
            ("a_total", "", 5.0),
            ("a_total", "k=\"2\"", 3.0),
            ("b", "", 4.0),
        ] {
            assert!(
                (sum(text, family, label) - expected).abs() < 1e-9,
                "{family} {label}"
            );
        }
    }
}
