use std::fmt::Debug;

use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};

use super::*;

/// Reads each row as JSON; `Ok` is the canonical form, `Err` the reason.
fn check<T>(rows: &[(Json, Result<&str, &str>)])
where
    T: DeserializeOwned + Serialize + PartialEq + Debug + schemars::JsonSchema,
{
    for (input, expected) in rows {
        let result = serde_json::from_value::<T>(input.clone());
        match (result, expected) {
            (Ok(value), Ok(canonical)) => {
                let written = serde_json::to_value(&value).unwrap();
                assert_eq!(written, json!(canonical), "row {input}");
                assert_eq!(
                    serde_json::from_value::<T>(written).unwrap(),
                    value,
                    "row {input} again"
                );
            }
            (Err(error), Err(reason)) => {
                let error = error.to_string();
                assert!(error.contains(reason), "row {input}: {error}");
            }
            (result, _) => panic!("row {input}: {result:?}"),
        }
    }
    let schema = schemars::schema_for!(T).to_value();
    for example in schema["examples"].as_array().unwrap() {
        assert!(
            serde_json::from_value::<T>(example.clone()).is_ok(),
            "example {example}"
        );
    }
}

#[test]
fn durations() {
    check::<Duration>(&[
        (json!("5s"), Ok("5s")),
        (json!("250ms"), Ok("250ms")),
        (json!("1m30s"), Ok("1m30s")),
        (json!("90s"), Ok("1m30s")),
        (json!("1h"), Ok("1h")),
        (json!("1.5s"), Ok("1s500ms")),
        (json!("0.5h"), Ok("30m")),
        (json!("1 m 30 s"), Ok("1m30s")),
        (json!("7d"), Ok("7d")),
        (json!("3µs"), Ok("3us")),
        (json!("5"), Err("'5' needs a unit")),
        (json!(5), Err("the number 5 needs a unit")),
        (json!("0s"), Err("cannot be zero")),
        (json!("1s1m"), Err("from long to short")),
        (json!("1s1s"), Err("from long to short")),
        (json!("5 parsecs"), Err("unknown unit 'parsecs'")),
        (json!("-5s"), Err("not a duration")),
        (json!(-5), Err("integer `-5`")),
        (json!(""), Err("this is empty")),
        (json!("0.0000000001s"), Err("too long or too fine")),
        (json!("99999999999999999999s"), Err("not a duration")),
        (json!("999999d"), Err("too long")),
        (json!("40000d"), Err("longer than 100 years")),
        (json!([1]), Err("expected a duration such as 5s")),
    ]);
    assert_eq!(Duration::from_millis(1500).to_string(), "1s500ms");
    assert_eq!(Duration::from_secs(u64::MAX).to_string(), "36500d");
    assert_eq!(
        Duration::from_secs(3).get(),
        std::time::Duration::from_secs(3)
    );
}

#[test]
fn timeouts() {
    check::<Timeout>(&[
        (json!("off"), Ok("off")),
        (json!("60s"), Ok("1m")),
        (json!(0), Err("write 'off' for never")),
        (json!("never"), Err("or 'off'")),
    ]);
    assert_eq!(Timeout::Off.get(), None);
}

#[test]
fn sizes() {
    check::<ByteSize>(&[
        (json!("64KiB"), Ok("64KiB")),
        (json!("65536"), Ok("64KiB")),
        (json!(65536), Ok("64KiB")),
        (json!("10MB"), Ok("10MB")),
        (json!("1.5MiB"), Ok("1536KiB")),
        (json!("1 kB"), Ok("1KB")),
        (json!(0), Ok("0B")),
        (json!("1023B"), Ok("1023B")),
        (json!("2048MiB"), Ok("2GiB")),
        (json!("64k"), Err("unknown unit 'k'")),
        (json!("1.1B"), Err("not a whole number of bytes")),
        (
            json!("99999999TiB"),
            Err("not a whole number of bytes that fits"),
        ),
        (json!("x"), Err("not a size")),
        (json!(-1), Err("expected a size such as")),
        (json!(true), Err("expected a size such as")),
    ]);
    assert_eq!(
        (ByteSize::kib(2).get(), ByteSize::mib(1).as_usize()),
        (2048, 1 << 20)
    );
}

#[test]
fn rates() {
    check::<Rate>(&[
        (json!("100/s"), Ok("100/s")),
        (json!("5000 / m"), Ok("5000/m")),
        (json!("10/h"), Ok("10/h")),
        (json!("1/d"), Ok("1/d")),
        (json!("0/s"), Err("cannot be zero")),
        (json!("100"), Err("does not say per what time")),
        (json!(100), Err("the number 100 does not say per what time")),
        (json!("1/w"), Err("unknown period 'w'")),
        (json!("1.5/s"), Err("not a whole number")),
    ]);
    check::<ByteRate>(&[
        (json!("64KiB/s"), Ok("64KiB/s")),
        (json!("1000/m"), Ok("1KB/m")),
        (json!("0B/s"), Err("cannot be zero")),
        (json!("1k/s"), Err("unknown unit 'k'")),
    ]);
    let rate: Rate = "5000/m".parse().unwrap();
    assert_eq!((rate.count(), rate.per().as_secs()), (5000, 60));
    assert_eq!(Rate::per_second(0).to_string(), "1/s");
}

#[test]
fn percentages() {
    check::<Percent>(&[
        (json!("20%"), Ok("20%")),
        (json!("0.5%"), Ok("0.5%")),
        (json!("0%"), Ok("0%")),
        (json!("100 %"), Ok("100%")),
        (json!("33.3333%"), Ok("33.3333%")),
        (json!("33.33333%"), Err("at most four decimals")),
        (json!("101%"), Err("at most 100%")),
        (json!(20), Err("needs a '%'")),
        (json!("x%"), Err("not a percentage")),
    ]);
    let percent: Percent = "0.5%".parse().unwrap();
    assert_eq!((percent.millionths(), percent.of(1000)), (5000, 5));
    assert!((Percent::whole(20).fraction() - 0.2).abs() < 1e-9);
    assert_eq!(Percent::ALL.of(u64::MAX), u64::MAX);
}

#[test]
fn listen_addresses() {
    check::<ListenAddress>(&[
        (json!("0.0.0.0:8080"), Ok("0.0.0.0:8080")),
        (json!("[::1]:8080"), Ok("[::1]:8080")),
        (json!("[::]:8080"), Ok("[::]:8080")),
        (json!(":8080"), Ok(":8080")),
        (json!("127.0.0.1:0"), Ok("127.0.0.1:0")),
        (json!("tcp://127.0.0.1:1"), Ok("127.0.0.1:1")),
        (json!("udp://0.0.0.0:53"), Ok("udp://0.0.0.0:53")),
        (json!("udp://:53"), Ok("udp://:53")),
        (json!("unix:/run/web.sock"), Ok("unix:/run/web.sock")),
        (json!("unix:"), Err("the path of the socket is missing")),
        (
            json!(format!("unix:/{}", "x".repeat(107))),
            Err("sockets take 107"),
        ),
        (json!("localhost:80"), Err("write 127.0.0.1:80")),
        (json!("example.com:80"), Err("not an address")),
        (json!("[::ffff:127.0.0.1]:80"), Err("write 127.0.0.1:80")),
        (json!("udp://[::ffff:0:0]:53"), Err("write 0.0.0.0:53")),
        (json!("0.0.0.0"), Err("has no port")),
        (json!("::1"), Err("needs brackets")),
        (json!("::1:80"), Err("needs brackets")),
        (json!("1.2.3.4:99999"), Err("'99999' is not a port")),
        (json!("1.2.3.4:+80"), Err("'+80' is not a port")),
        (json!("ftp://1.2.3.4:80"), Err("unknown scheme 'ftp'")),
        (json!(8080), Err("write ':8080'")),
    ]);
}

#[test]
fn listen_addresses_that_clash() {
    let rows = [
        ("0.0.0.0:80", "0.0.0.0:80", true),
        ("0.0.0.0:80", "127.0.0.1:80", true),
        ("127.0.0.1:80", "127.0.0.2:80", false),
        ("0.0.0.0:80", "0.0.0.0:81", false),
        ("0.0.0.0:80", "[::1]:80", false),
        ("[::]:80", "127.0.0.1:80", false),
        ("[::]:80", "[::1]:80", true),
        (":80", "127.0.0.1:80", true),
        (":80", "[::1]:80", true),
        (":80", ":80", true),
        (":0", ":0", false),
        ("0.0.0.0:80", "udp://0.0.0.0:80", false),
        ("udp://:80", "udp://0.0.0.0:80", true),
        ("unix:/a", "unix:/a", true),
        ("unix:/a", "unix:/b", false),
    ];
    for (left, right, clash) in rows {
        let (a, b): (ListenAddress, ListenAddress) =
            (left.parse().unwrap(), right.parse().unwrap());
        assert_eq!(a.clashes_with(&b), clash, "row {left} {right}");
        assert_eq!(b.clashes_with(&a), clash, "row {right} {left}");
    }
}

#[test]
fn target_addresses() {
    check::<TargetAddress>(&[
        (json!("10.0.0.1:8080"), Ok("10.0.0.1:8080")),
        (json!("[::1]:8080"), Ok("[::1]:8080")),
        (json!("API.example.com:80"), Ok("api.example.com:80")),
        (json!("tcp://my_host:80"), Ok("my_host:80")),
        (json!("localhost:3000"), Ok("localhost:3000")),
        (json!("unix:/run/api.sock"), Ok("unix:/run/api.sock")),
        (json!("10.0.0.300:80"), Err("not an IPv4 address")),
        (json!("a:0"), Err("port 0 cannot be connected to")),
        (json!(":80"), Err("not an address or host name")),
        (json!("-a.com:80"), Err("not an address or host name")),
        (json!("a..b:80"), Err("not an address or host name")),
        (json!("[::x]:80"), Err("not an address or host name")),
        (json!("http://a:80"), Err("unknown scheme 'http'")),
        (json!("a"), Err("has no port")),
        (
            json!(format!("{}:80", "a".repeat(64))),
            Err("not an address or host name"),
        ),
    ]);
    let address: TargetAddress = "10.0.0.1:80".parse().unwrap();
    assert_eq!(address.as_socket(), Some("10.0.0.1:80".parse().unwrap()));
}

#[test]
fn networks() {
    check::<Network>(&[
        (json!("10.0.0.0/8"), Ok("10.0.0.0/8")),
        (json!("fd00::/8"), Ok("fd00::/8")),
        (json!("127.0.0.1"), Ok("127.0.0.1")),
        (json!("127.0.0.1/32"), Ok("127.0.0.1")),
        (json!("10.0.0.1/8"), Err("write 10.0.0.0/8 or 10.0.0.1")),
        (json!("10.0.0.0/33"), Err("not a network")),
        (json!("x"), Err("not a network")),
    ]);
    let network: Network = "10.0.0.0/8".parse().unwrap();
    assert!(network.contains("::ffff:10.1.2.3".parse().unwrap()));
    assert!(!network.contains("11.0.0.1".parse().unwrap()));
}

proptest! {
    #[test]
    fn canonical_forms_read_back(number in 1..=3_000_000_000_000_000_000_u64, share in 0..=1_000_000_u64) {
        let duration = Duration::try_from(std::time::Duration::from_nanos(number)).unwrap();
        prop_assert_eq!(duration.to_string().parse::<Duration>().unwrap(), duration);
        prop_assert_eq!(ByteSize(number).to_string().parse::<ByteSize>().unwrap(), ByteSize(number));
        let percent: Percent = format!("{}.{:04}%", share / 10_000, share % 10_000).parse().unwrap();
        prop_assert_eq!(u64::from(percent.millionths()), share);
        prop_assert_eq!(percent.to_string().parse::<Percent>().unwrap(), percent);
    }

    #[test]
    fn any_text_does_no_harm(text in "[0-9a-zA-Z.:/%\\[\\] µ+-]{0,20}|\\PC{0,20}") {
        let _ = text.parse::<Duration>();
        let _ = text.parse::<ByteSize>();
        let _ = text.parse::<Rate>();
        let _ = text.parse::<ByteRate>();
        let _ = text.parse::<Percent>();
        let _ = text.parse::<Network>();
        let _ = text.parse::<TargetAddress>();
        if let Ok(address) = text.parse::<ListenAddress>() {
            prop_assert_eq!(address.to_string().parse::<ListenAddress>().unwrap(), address);
        }
    }
}
