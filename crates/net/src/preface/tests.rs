//! Prefaces over real sockets. Deadlines that must pass lie in the past.

use tokio::net::UnixStream;

use super::*;

const V1: &[u8] = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n";

fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(test)
}

fn pair() -> (Stream, Stream) {
    let (near, far) = UnixStream::pair().unwrap();
    (near.into(), far.into())
}

fn policy(required: bool, deadline: Duration) -> ProxyPolicy {
    ProxyPolicy {
        trusted: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
        required,
        deadline,
    }
}

fn peer(text: &str) -> ClientAddr {
    ClientAddr(SocketAddress::canonical(text.parse().unwrap()))
}

/// Sends `input`, ends, and says what comes of it and what a protocol would see.
fn read(
    input: &[u8],
    from: &str,
    required: bool,
) -> (Result<Option<String>, &'static str>, Vec<u8>) {
    run(async {
        let (mut near, mut far) = pair();
        far.write_all(input).await.unwrap();
        drop(far);
        let mut prefix = BytesMut::new();
        let policy = policy(required, Duration::from_hours(1));
        let result = read_proxy_header(&mut near, &mut prefix, peer(from), &policy).await;
        let shown = result
            .map(|header| header.map(|header| format!("{:?}", header.source())))
            .map_err(PrefaceError::label);
        (shown, prefix.to_vec())
    })
}

#[test]
fn s4_headers_are_taken_from_trusted_peers_only() {
    let good = [V1, b"rest"].concat();
    let malformed = b"PROXY TCP4 x x 1 2\r\n".as_slice();
    let cut = b"PROXY TCP4".as_slice();
    let named = || Ok(Some("Some(192.0.2.1:1)".to_owned()));
    let (trusted, stranger) = ("10.1.2.3:9", "192.0.2.9:9");
    type Row<'a> = (
        &'a str,
        &'a [u8],
        &'a str,
        bool,
        Result<Option<String>, &'a str>,
    );
    let rows: [Row<'_>; 13] = [
        ("trusted", &good, trusted, true, named()),
        ("trusted, optional", &good, trusted, false, named()),
        ("trusted IPv6", &good, "[fd00::1]:9", true, named()),
        (
            "trusted, mapped",
            &good,
            "[::ffff:10.1.2.3]:9",
            true,
            named(),
        ),
        ("stranger", &good, stranger, true, Err("proxy_untrusted")),
        (
            "stranger, optional",
            &good,
            stranger,
            false,
            Err("proxy_untrusted"),
        ),
        (
            "stranger, malformed",
            malformed,
            stranger,
            false,
            Err("proxy_untrusted"),
        ),
        ("stranger, no header", b"GET /", stranger, false, Ok(None)),
        ("malformed", malformed, trusted, false, Err("proxy_address")),
        (
            "missing",
            b"GET /",
            trusted,
            true,
            Err("proxy_header_missing"),
        ),
        ("missing, optional", b"GET /", trusted, false, Ok(None)),
        ("cut off", cut, trusted, false, Err("proxy_closed")),
        ("nothing", b"", trusted, true, Err("proxy_closed")),
    ];
    for (name, input, from, required, expected) in rows {
        let (result, prefix) = read(input, from, required);
        match &expected {
            Ok(Some(_)) => assert_eq!(prefix, b"rest", "{name}"),
            Ok(None) => assert_eq!(prefix, input, "{name}: nothing is lost"),
            Err(_) => {}
        }
        assert_eq!(result, expected, "{name}");
    }
}

#[test]
fn a_header_may_come_byte_by_byte() {
    run(async {
        let (mut near, mut far) = pair();
        let mut prefix = BytesMut::new();
        let policy = policy(true, Duration::from_hours(1));
        let send = async {
            for byte in V1.iter().chain(b"x") {
                far.write_all(&[*byte]).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let receive = read_proxy_header(&mut near, &mut prefix, peer("10.0.0.1:1"), &policy);
        let (header, ()) = tokio::join!(receive, send);
        let header = header.unwrap().unwrap();
        assert_eq!(header.source(), Some("192.0.2.1:1".parse().unwrap()));
        near.try_read_into(&mut prefix).unwrap_or_default();
        assert_eq!(&prefix[..], b"x");
    });
}

#[test]
fn a_silent_peer_is_given_up_or_passed_on() {
    type Row<'a> = (&'a str, &'a [u8], bool, Result<(), &'a str>);
    let rows: [Row<'_>; 4] = [
        ("required", b"", true, Err("proxy_timeout")),
        ("optional", b"", false, Ok(())),
        ("optional, a few bytes", b"PR", false, Ok(())),
        ("optional, begun", b"PROXY ", false, Err("proxy_timeout")),
    ];
    for (name, input, required, expected) in rows {
        run(async {
            let (mut near, mut far) = pair();
            far.write_all(input).await.unwrap();
            if !input.is_empty() {
                // The runtime must have heard of them before the deadline is looked at.
                poll_fn(|cx| near.poll_read_ready(cx)).await.unwrap();
            }
            let mut prefix = BytesMut::new();
            let policy = policy(required, Duration::ZERO);
            let result =
                read_proxy_header(&mut near, &mut prefix, peer("10.0.0.1:1"), &policy).await;
            let result = result.map(|header| assert!(header.is_none()));
            assert_eq!(result.map_err(PrefaceError::label), expected, "{name}");
            assert_eq!(&prefix[..], input, "{name}");
        });
    }
}

fn is_a(prefix: &[u8]) -> Sniff {
    looks_like(prefix, b"aaaa")
}

fn is_b(prefix: &[u8]) -> Sniff {
    looks_like(prefix, b"bb")
}

fn is_long(prefix: &[u8]) -> Sniff {
    looks_like(prefix, b"bbbbbbbbbbbb")
}

fn looks_like(prefix: &[u8], word: &[u8]) -> Sniff {
    if prefix.starts_with(word) {
        Sniff::Yes
    } else if word.starts_with(prefix) {
        Sniff::NeedMore
    } else {
        Sniff::No
    }
}

#[test]
fn sniffing_keeps_every_byte() {
    let all: &[fn(&[u8]) -> Sniff] = &[is_a, is_b];
    let long_first: &[fn(&[u8]) -> Sniff] = &[is_long, is_b];
    type Row<'a> = (
        &'a str,
        &'a [u8],
        &'a [fn(&[u8]) -> Sniff],
        Result<usize, Undecided>,
    );
    let rows: [Row<'_>; 7] = [
        ("first", b"aaaaX", all, Ok(0)),
        ("second", b"bbX", all, Ok(1)),
        ("neither", b"cc", all, Err(Undecided::NoMatch)),
        ("ended early", b"aa", all, Err(Undecided::Closed)),
        ("nothing", b"", all, Err(Undecided::Closed)),
        ("a yes behind one that needs more", b"bb", long_first, Ok(1)),
        ("limit", b"bbbbbbbbbb", &[is_long], Err(Undecided::TooLong)),
    ];
    for (name, input, candidates, expected) in rows {
        run(async {
            let (mut near, mut far) = pair();
            far.write_all(input).await.unwrap();
            drop(far);
            let mut prefix = BytesMut::new();
            let bounds = SniffBounds {
                deadline: clock::now() + Duration::from_hours(1),
                bytes: 8,
            };
            let result = sniff(&mut near, &mut prefix, bounds, candidates).await;
            assert_eq!(result, expected, "{name}");
            while near.read(&mut prefix).await.unwrap() > 0 {}
            assert_eq!(&prefix[..], input, "{name}: replayed");
        });
    }
}

#[test]
fn sniffing_stops_at_the_deadline() {
    run(async {
        let (mut near, _far) = pair();
        let bounds = SniffBounds {
            deadline: clock::now(),
            bytes: 8,
        };
        let result = sniff(&mut near, &mut BytesMut::new(), bounds, &[is_a]).await;
        assert_eq!(result, Err(Undecided::TimedOut));
    });
}
