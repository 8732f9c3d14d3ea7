//! `portcullis demo`: the gateway with built-in upstreams, a real configuration and light traffic, to look at.
//!
//! It needs nothing installed and leaves nothing behind. Everything listens on the loopback. The gateway is the same
//! as under `run`; only the upstreams and the clients are played. Start at [`prepare`].

mod certificate;
mod figures;
mod greeter;
mod origins;
mod postgres;
mod redis;
mod traffic;

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::process::Command;

use certificate::Certificate;
use origins::Origins;
use postgres::Postgres;
use redis::Redis;

/// The demo's configuration file is this text with the ports filled in.
const TEMPLATE: &str = include_str!("demo.yaml");

/// Where the demo listens.
#[derive(Clone, Copy)]
struct Addresses {
    web: SocketAddr,
    secure: SocketAddr,
    calls: SocketAddr,
    echo: SocketAddr,
    admin: SocketAddr,
}

/// A demo that is ready to run. What it has put on disk goes with it.
pub(crate) struct Demo {
    /// The configuration to run.
    pub(crate) configuration: String,
    _certificate: Certificate,
    _servers: (Option<Postgres>, Option<Redis>),
}

/// What is added to the configuration where a server is installed: at which mark, and what.
type Blocks = [(&'static str, &'static str); 2];

const POSTGRES: Blocks = [
    (
        "@POSTGRES_LISTENER@",
        "  db:
    listen: \"@LISTEN@\"
    protocol: postgres
    auth: { method: trust }
    upstream: { auth_minimum: trust }
    pool: { mode: transaction, size: 5 }
    cluster: db
    filters:
      - deny: { without_where: true }
",
    ),
    (
        "@POSTGRES_CLUSTER@",
        "  db:
    endpoints: [\"@ORIGIN@\"]
    health_check: { postgres: {}, interval: 1s }
",
    ),
];

const REDIS: Blocks = [
    (
        "@REDIS_LISTENER@",
        "  cache:
    listen: \"@LISTEN@\"
    protocol: redis
    cluster: cache
    filters:
      - deny: { command: keys }
",
    ),
    (
        "@REDIS_CLUSTER@",
        "  cache:
    endpoints: [\"@ORIGIN@\", \"@SECOND_ORIGIN@\"]
    redis: { topology: shards }
    health_check: { redis: {}, interval: 1s }
",
    ),
];

/// Puts what is installed into the configuration: where the gateway listens for it, and where it is. Leaves it out otherwise.
fn fill_blocks(text: &str, blocks: Blocks, found: Option<(SocketAddr, &[SocketAddr])>) -> String {
    let mut text = text.to_owned();
    for (mark, block) in blocks {
        let mut filled = String::new();
        if let Some((listen, origins)) = found {
            filled = block.replace("@LISTEN@", &listen.to_string());
            for (mark, origin) in ["@ORIGIN@", "@SECOND_ORIGIN@"].into_iter().zip(origins) {
                filled = filled.replace(mark, &origin.to_string());
            }
        }
        text = text.replace(&format!("{mark}\n"), &filled);
    }
    text
}

/// Starts upstreams, traffic and figures, and prints what to try.
pub(crate) fn prepare(out: &mut impl Write) -> io::Result<Demo> {
    let certificate = Certificate::make()?;
    let origins = Origins::start()?;
    let addresses = Addresses {
        web: free_address(8080)?,
        secure: free_for_both(8443)?,
        calls: free_address(50051)?,
        echo: free_for_both(7007)?,
        admin: free_address(9901)?,
    };
    let configuration = fill(TEMPLATE, &addresses, &origins)
        .replace(
            "@CERTIFICATE@",
            &certificate.certificate().to_string_lossy(),
        )
        .replace("@KEY@", &certificate.key().to_string_lossy());
    let postgres = Postgres::start();
    let redis = Redis::start();
    let database = postgres.as_ref().map(|server| (6432, vec![server.address]));
    let cache = redis.as_ref().map(|pair| (6380, pair.addresses.to_vec()));
    let mut configuration = configuration;
    let mut listening = [None, None];
    let servers = [(POSTGRES, database), (REDIS, cache)];
    for (place, (blocks, found)) in listening.iter_mut().zip(servers) {
        let listen = found.as_ref().map(|(port, _)| free_address(*port));
        let listen = listen.transpose()?;
        let origins = found.map(|(_, origins)| origins).unwrap_or_default();
        let found = listen.map(|listen| (listen, &*origins));
        configuration = fill_blocks(&configuration, blocks, found);
        *place = listen;
    }
    explain(out, &configuration, &addresses, &certificate)?;
    explain_servers(out, listening)?;
    traffic::start(addresses.web, addresses.echo, addresses.calls)?;
    figures::start(addresses.admin)?;
    Ok(Demo {
        configuration,
        _certificate: certificate,
        _servers: (postgres, redis),
    })
}

fn fill(template: &str, addresses: &Addresses, origins: &Origins) -> String {
    [
        ("@WEB@", addresses.web),
        ("@SECURE@", addresses.secure),
        ("@CALLS@", addresses.calls),
        ("@ECHO@", addresses.echo),
        ("@ADMIN@", addresses.admin),
        ("@STEADY@", origins.steady),
        ("@FLAKY@", origins.flaky),
        ("@GREETER@", origins.greeter),
        ("@ECHO_ORIGIN@", origins.echo),
        ("@DATAGRAM_ORIGIN@", origins.datagrams),
    ]
    .iter()
    .fold(template.to_owned(), |text, (mark, address)| {
        text.replace(mark, &address.to_string())
    })
}

fn explain(
    out: &mut impl Write,
    configuration: &str,
    addresses: &Addresses,
    certificate: &Certificate,
) -> io::Result<()> {
    let Addresses {
        web,
        secure,
        calls,
        echo,
        admin,
    } = addresses;
    let certificate = certificate.certificate();
    let certificate = certificate.display();
    writeln!(out, "# The configuration of this demo\n\n{configuration}")?;
    writeln!(out, "# Try, in another terminal:")?;
    writeln!(
        out,
        "curl -i http://{web}/                        # the steady origin"
    )?;
    writeln!(
        out,
        "curl -i http://{web}/flaky                   # slow, and every fifth answer is a 503: retried"
    )?;
    writeln!(
        out,
        "curl -i http://{web}/about                   # answered by the gateway itself"
    )?;
    writeln!(
        out,
        "curl -i http://{web}/nothing/here            # no route: 404 with a reason"
    )?;
    writeln!(
        out,
        "for i in $(seq 30); do curl -so /dev/null -w '%{{http_code}} ' http://{web}/limited; done   # 429 after ten"
    )?;
    writeln!(
        out,
        "curl -i --cacert {certificate} https://localhost:{}/   # TLS, and HTTP/2 by agreement",
        secure.port()
    )?;
    explain_http3(out, &certificate.to_string(), secure.port())?;
    writeln!(
        out,
        "printf '\\0\\0\\0\\0\\7\\n\\5world' | curl -s --http2-prior-knowledge -H 'content-type: application/grpc' --data-binary @- http://{calls}/demo.Greeter/Greet | tail -c +8   # a gRPC call by hand"
    )?;
    writeln!(
        out,
        "python3 -c \"import grpc; print(list(grpc.insecure_channel('{calls}').unary_stream('/demo.Greeter/GreetOften')(b'\\n\\5world')))\"   # a streaming one; needs grpcio"
    )?;
    writeln!(
        out,
        "curl -sN telnet://{echo}                     # TCP echo: type, then Ctrl-C"
    )?;
    writeln!(
        out,
        "python3 -c \"import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.sendto(b'hello', ('{}', {})); print(s.recv(99))\"   # UDP echo",
        echo.ip(),
        echo.port()
    )?;
    writeln!(
        out,
        "curl -s http://{admin}/clusters              # health of the upstreams"
    )?;
    writeln!(
        out,
        "curl -s http://{admin}/metrics               # everything that is counted"
    )?;
    Ok(())
}

/// How to come by HTTP/3, which few curls can.
fn explain_http3(out: &mut impl Write, certificate: &str, port: u16) -> io::Result<()> {
    let curl = Command::new("curl").arg("--version").output();
    let can = curl.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("HTTP3"));
    if can {
        writeln!(
            out,
            "curl -i --http3-only --cacert {certificate} https://localhost:{port}/   # HTTP/3, over UDP on the same port"
        )
    } else {
        writeln!(
            out,
            "# HTTP/3 is on the same port over UDP; this curl cannot speak it. Chromium can: \
             chromium --origin-to-force-quic-on=localhost:{port} --ignore-certificate-errors-spki-list=$(openssl x509 -in {certificate} \
             -pubkey -noout | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64) https://localhost:{port}/"
        )
    }
}

/// Where PostgreSQL and Redis can be tried, or how to get them.
fn explain_servers(out: &mut impl Write, listening: [Option<SocketAddr>; 2]) -> io::Result<()> {
    let [postgres, redis] = listening;
    match postgres {
        Some(listen) => writeln!(
            out,
            "psql -h {} -p {} -U postgres          # Postgres, pooled; `delete from t` without WHERE is refused",
            listen.ip(),
            listen.port()
        )?,
        None => writeln!(
            out,
            "# No PostgreSQL was found: with one (Debian's package postgresql) the demo shows a pool in front of it."
        )?,
    }
    match redis {
        Some(listen) => writeln!(
            out,
            "redis-cli -h {} -p {} mset a 1 b 2 c 3    # Redis, two shards behind one port; `keys` is refused",
            listen.ip(),
            listen.port()
        )?,
        None => writeln!(
            out,
            "# No Redis was found: with one (Debian's package redis-server) the demo shows two shards behind one port."
        )?,
    }
    writeln!(
        out,
        "\nCtrl-C ends the demo. Live figures, once a second:\n"
    )
}

/// The wanted port on the loopback if it is free, else any other.
fn free_address(port: u16) -> io::Result<SocketAddr> {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    bind(port).or_else(|_| bind(0))?.local_addr()
}

/// As [`free_address`], where both TCP and UDP are free.
fn free_for_both(port: u16) -> io::Result<SocketAddr> {
    let mut last = free_address(port)?;
    for _ in 0..TRIES {
        if UdpSocket::bind(last).is_ok() {
            return Ok(last);
        }
        last = free_address(0)?;
    }
    Ok(last)
}

/// How often another port is looked for.
const TRIES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_complete() {
        let address = SocketAddr::from(([127, 0, 0, 1], 1234));
        let addresses = Addresses {
            web: address,
            secure: address,
            calls: address,
            echo: address,
            admin: address,
        };
        let origins = Origins {
            steady: address,
            flaky: address,
            greeter: address,
            echo: address,
            datagrams: address,
        };
        let text = fill(TEMPLATE, &addresses, &origins)
            .replace("@CERTIFICATE@", "c.pem")
            .replace("@KEY@", "k.pem");
        let pair = [address, address];
        for found in [None, Some((address, &pair[..]))] {
            let text = fill_blocks(&text, POSTGRES, found);
            let text = fill_blocks(&text, REDIS, found);
            assert!(!text.contains('@'), "a mark was not filled in: {text}");
        }
    }
}
