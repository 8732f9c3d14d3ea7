//! `portcullis demo`: the gateway with built-in upstreams, a real configuration and light traffic, to look at.
//!
//! It needs nothing installed and leaves nothing behind. Everything listens on the loopback. The gateway is the same
//! as under `run`; only the upstreams and the clients are played. Start at [`prepare`].

mod certificate;
mod figures;
mod greeter;
mod origins;
mod postgres;
mod traffic;

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use certificate::Certificate;
use origins::Origins;
use postgres::Postgres;

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
    _postgres: Option<Postgres>,
}

/// What is added where there is a PostgreSQL: the listener and the cluster.
const POSTGRES: [(&str, &str); 2] = [
    (
        "@POSTGRES_LISTENER@",
        "  db:
    listen: \"@POSTGRES@\"
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
    endpoints: [\"@POSTGRES_ORIGIN@\"]
    health_check: { postgres: {}, interval: 1s }
",
    ),
];

/// Puts Postgres into the configuration, or leaves it out.
fn fill_postgres(text: &str, postgres: Option<(SocketAddr, SocketAddr)>) -> String {
    let mut text = text.to_owned();
    for (mark, block) in POSTGRES {
        let block = match postgres {
            Some((listen, origin)) => block
                .replace("@POSTGRES@", &listen.to_string())
                .replace("@POSTGRES_ORIGIN@", &origin.to_string()),
            None => String::new(),
        };
        text = text.replace(&format!("{mark}\n"), &block);
    }
    text
}

/// Starts upstreams, traffic and figures, and prints what to try.
pub(crate) fn prepare(out: &mut impl Write) -> io::Result<Demo> {
    let certificate = Certificate::make()?;
    let origins = Origins::start()?;
    let addresses = Addresses {
        web: free_address(8080)?,
        secure: free_address(8443)?,
        calls: free_address(50051)?,
        echo: free_address(7007)?,
        admin: free_address(9901)?,
    };
    let configuration = fill(TEMPLATE, &addresses, &origins)
        .replace(
            "@CERTIFICATE@",
            &certificate.certificate().to_string_lossy(),
        )
        .replace("@KEY@", &certificate.key().to_string_lossy());
    let postgres = Postgres::start();
    let database = match &postgres {
        Some(server) => Some((free_address(6432)?, server.address)),
        None => None,
    };
    let configuration = fill_postgres(&configuration, database);
    explain(out, &configuration, &addresses, &certificate)?;
    explain_postgres(out, database.map(|(listen, _)| listen))?;
    traffic::start(addresses.web, addresses.echo, addresses.calls)?;
    figures::start(addresses.admin)?;
    Ok(Demo {
        configuration,
        _certificate: certificate,
        _postgres: postgres,
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
        "curl -s http://{admin}/clusters              # health of the upstreams"
    )?;
    writeln!(
        out,
        "curl -s http://{admin}/metrics               # everything that is counted"
    )?;
    Ok(())
}

fn explain_postgres(out: &mut impl Write, listen: Option<SocketAddr>) -> io::Result<()> {
    match listen {
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
        };
        let text = fill(TEMPLATE, &addresses, &origins)
            .replace("@CERTIFICATE@", "c.pem")
            .replace("@KEY@", "k.pem");
        for postgres in [None, Some((address, address))] {
            let text = fill_postgres(&text, postgres);
            assert!(!text.contains('@'), "a mark was not filled in: {text}");
        }
        let text = fill_postgres(&text, None);
        assert!(!text.contains('@'), "a mark was not filled in: {text}");
    }
}
