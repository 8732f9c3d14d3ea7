//! `portcullis demo`: the gateway with built-in upstreams, a real configuration and light traffic, to look at.
//!
//! It needs nothing installed and leaves nothing behind. Everything listens on the loopback. The gateway is the same
//! as under `run`; only the upstreams and the clients are played. Start at [`prepare`].

mod figures;
mod origins;
mod traffic;

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use origins::Origins;

/// The demo's configuration file is this text with the ports filled in.
const TEMPLATE: &str = include_str!("demo.yaml");

/// Where the demo listens.
#[derive(Clone, Copy)]
struct Addresses {
    web: SocketAddr,
    echo: SocketAddr,
    admin: SocketAddr,
}

/// Starts upstreams, traffic and figures, prints what to try, and returns the configuration to run.
pub(crate) fn prepare(out: &mut impl Write) -> io::Result<String> {
    let origins = Origins::start()?;
    let addresses = Addresses {
        web: free_address(8080)?,
        echo: free_address(7007)?,
        admin: free_address(9901)?,
    };
    let configuration = fill(TEMPLATE, &addresses, &origins);
    explain(out, &configuration, &addresses)?;
    traffic::start(addresses.web, addresses.echo)?;
    figures::start(addresses.admin)?;
    Ok(configuration)
}

fn fill(template: &str, addresses: &Addresses, origins: &Origins) -> String {
    [
        ("@WEB@", addresses.web),
        ("@ECHO@", addresses.echo),
        ("@ADMIN@", addresses.admin),
        ("@STEADY@", origins.steady),
        ("@FLAKY@", origins.flaky),
        ("@ECHO_ORIGIN@", origins.echo),
    ]
    .iter()
    .fold(template.to_owned(), |text, (mark, address)| {
        text.replace(mark, &address.to_string())
    })
}

fn explain(out: &mut impl Write, configuration: &str, addresses: &Addresses) -> io::Result<()> {
    let Addresses { web, echo, admin } = addresses;
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
            echo: address,
            admin: address,
        };
        let origins = Origins {
            steady: address,
            flaky: address,
            echo: address,
        };
        let text = fill(TEMPLATE, &addresses, &origins);
        assert!(!text.contains('@'), "a mark was not filled in: {text}");
    }
}
