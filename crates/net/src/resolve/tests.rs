//! Lookups against a scripted name server on loopback.

use std::net::UdpSocket;
use std::thread;

use super::*;

fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(test)
}

/// What the server says to a question of one type.
#[derive(Clone, Copy)]
enum Say {
    Addresses(&'static [[u8; 4]], u32),
    Nothing,
    NoSuchName,
    Fail,
}

/// Answers every question for IPv4 addresses with `say`, and for others that there are none.
fn server(say: Say) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut question = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut question) {
            socket
                .send_to(&answer(&question[..length], say), from)
                .unwrap();
        }
    });
    address
}

/// RFC 1035, section 4.1: header, the question repeated, answers that point back to its name.
fn answer(question: &[u8], say: Say) -> Vec<u8> {
    let name_length = question[12..].iter().position(|byte| *byte == 0).unwrap() + 1;
    let end = 12 + name_length + 4;
    let wants_ipv4 = question[12 + name_length + 1] == 1;
    let (code, addresses, ttl): (u8, &[[u8; 4]], u32) = match say {
        Say::Addresses(addresses, ttl) if wants_ipv4 => (0, addresses, ttl),
        Say::Addresses(..) | Say::Nothing => (0, &[], 0),
        Say::NoSuchName => (3, &[], 0),
        Say::Fail => (2, &[], 0),
    };
    let mut answer = question[..2].to_vec();
    answer.extend([0x81, 0x80 | code, 0, 1]);
    answer.extend((addresses.len() as u16).to_be_bytes());
    answer.extend([0, 0, 0, 0]);
    answer.extend(&question[12..end]);
    for address in addresses {
        answer.extend([0xC0, 12, 0, 1, 0, 1]);
        answer.extend(ttl.to_be_bytes());
        answer.extend([0, 4]);
        answer.extend(address);
    }
    answer
}

#[test]
fn names_are_looked_up() {
    const TWO: &[[u8; 4]] = &[[192, 0, 2, 1], [192, 0, 2, 2]];
    type Row<'a> = (&'a str, Say, AddressFamily, Result<usize, &'a str>);
    let rows: [Row<'_>; 6] = [
        ("two", Say::Addresses(TWO, 60), AddressFamily::Any, Ok(2)),
        ("IPv4", Say::Addresses(TWO, 60), AddressFamily::V4, Ok(2)),
        (
            "IPv6",
            Say::Addresses(TWO, 60),
            AddressFamily::V6,
            Err("not_found"),
        ),
        (
            "F3 empty",
            Say::Nothing,
            AddressFamily::Any,
            Err("not_found"),
        ),
        (
            "F3 NXDOMAIN",
            Say::NoSuchName,
            AddressFamily::Any,
            Err("not_found"),
        ),
        ("F3 failing", Say::Fail, AddressFamily::V4, Err("failed")),
    ];
    for (name, say, family, expected) in rows {
        run(async {
            let resolver = Resolver::with_server(server(say));
            let result = resolver.lookup("api.example.com", family).await;
            if let Ok(resolved) = &result {
                assert!(resolved.ttl <= Duration::from_mins(1), "{name}");
                assert!(resolved.ttl > Duration::from_secs(30), "{name}");
                assert_eq!(resolved.addresses[0], IpAddr::from(TWO[0]), "{name}");
            }
            let result = result.map(|resolved| resolved.addresses.len());
            assert_eq!(result.map_err(ResolveError::label), expected, "{name}");
        });
    }
}

#[test]
fn f3_a_ttl_of_zero_is_passed_on() {
    run(async {
        let resolver = Resolver::with_server(server(Say::Addresses(&[[192, 0, 2, 1]], 0)));
        let resolved = resolver
            .lookup("api.example.com", AddressFamily::V4)
            .await
            .unwrap();
        assert_eq!(resolved.ttl, Duration::ZERO);
    });
}

#[test]
fn addresses_and_localhost_need_no_server() {
    let resolver = Resolver { servers: None };
    type Row<'a> = (&'a str, AddressFamily, Result<&'a [&'a str], &'a str>);
    let rows: [Row<'_>; 8] = [
        ("192.0.2.1", AddressFamily::Any, Ok(&["192.0.2.1"])),
        ("2001:db8::1", AddressFamily::Any, Ok(&["2001:db8::1"])),
        ("[2001:db8::1]", AddressFamily::V6, Ok(&["2001:db8::1"])),
        ("192.0.2.1", AddressFamily::V6, Err("not_found")),
        ("localhost", AddressFamily::Any, Ok(&["127.0.0.1", "::1"])),
        ("LocalHost.", AddressFamily::V4, Ok(&["127.0.0.1"])),
        ("web.localhost", AddressFamily::V6, Ok(&["::1"])),
        ("example.com", AddressFamily::Any, Err("no_servers")),
    ];
    for (host, family, expected) in rows {
        let result = run(resolver.lookup(host, family));
        let result = result.map(|resolved| {
            let texts = resolved.addresses.iter().map(ToString::to_string);
            texts.collect::<Vec<_>>()
        });
        let expected = expected.map(|texts| texts.iter().map(ToString::to_string).collect());
        assert_eq!(result.map_err(ResolveError::label), expected, "{host}");
    }
}
