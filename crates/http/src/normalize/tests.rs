//! Tables for hosts and paths, and the laws of settling.

use proptest::prelude::*;

use super::*;
use crate::head::RequestHead;
use crate::head::Target;
use crate::{Fields, Name};

struct Given<'a> {
    method: &'a str,
    target: Target,
    version: Version,
    fields: &'a [(&'a str, &'a str)],
}

fn origin(path: &str) -> Target {
    Target::origin(Bytes::copy_from_slice(path.as_bytes()))
}

fn absolute(authority: &str, path: &str) -> Target {
    Target {
        form: TargetForm::Absolute,
        scheme: Some(Scheme::Http),
        authority: Some(Bytes::copy_from_slice(authority.as_bytes())),
        path_and_query: Bytes::copy_from_slice(path.as_bytes()),
    }
}

fn connect(authority: &str) -> Target {
    Target {
        form: TargetForm::Authority,
        scheme: None,
        ..absolute(authority, "")
    }
}

fn request(given: &Given<'_>) -> Request {
    let mut fields = Fields::new();
    for (name, value) in given.fields {
        fields.append(Name::from(*name), value.as_bytes());
    }
    let method = Method::known(given.method.as_bytes()).unwrap();
    let head = RequestHead {
        method,
        target: given.target.clone(),
        version: given.version,
        fields,
    };
    Request::new(head, Framing::None, false)
}

fn settled(given: &Given<'_>, config: NormalizeConfig) -> Result<Request, RequestError> {
    let mut request = request(given);
    settle(&mut request, &config).map(|()| request)
}

fn settle_path(path: &str, config: NormalizeConfig) -> Result<String, RequestError> {
    let given = Given {
        method: "GET",
        target: origin(path),
        version: Version::Http11,
        fields: &[("host", "a")],
    };
    settled(&given, config)
        .map(|request| String::from_utf8(request.head.target.path_and_query.to_vec()).unwrap())
}

#[test]
fn h10_hosts() {
    use RequestError as E;
    let v11 = Version::Http11;
    let v10 = Version::Http10;
    type Row<'a> = (
        &'a str,
        &'a str,
        Target,
        Version,
        &'a [(&'a str, &'a str)],
        Result<&'a str, RequestError>,
    );
    let rows: Vec<Row<'_>> = vec![
        (
            "plain",
            "GET",
            origin("/"),
            v11,
            &[("host", "a.example")],
            Ok("a.example"),
        ),
        (
            "upper case",
            "GET",
            origin("/"),
            v11,
            &[("host", "A.Example:80")],
            Ok("a.example:80"),
        ),
        (
            "final dot",
            "GET",
            origin("/"),
            v11,
            &[("host", "a.example.")],
            Ok("a.example."),
        ),
        (
            "literal",
            "GET",
            origin("/"),
            v11,
            &[("host", "[2001:DB8::1]:8080")],
            Ok("[2001:db8::1]:8080"),
        ),
        ("missing", "GET", origin("/"), v11, &[], Err(E::MissingHost)),
        (
            "missing in 2",
            "GET",
            origin("/"),
            Version::Http2,
            &[],
            Err(E::MissingHost),
        ),
        ("missing in 1.0", "GET", origin("/"), v10, &[], Ok("")),
        (
            "twice",
            "GET",
            origin("/"),
            v11,
            &[("host", "a"), ("host", "a")],
            Err(E::SeveralHosts),
        ),
        (
            "twice in 1.0",
            "GET",
            origin("/"),
            v10,
            &[("host", "a"), ("host", "b")],
            Err(E::SeveralHosts),
        ),
        (
            "empty",
            "GET",
            origin("/"),
            v11,
            &[("host", "")],
            Err(E::InvalidHost),
        ),
        (
            "list",
            "GET",
            origin("/"),
            v11,
            &[("host", "a,b")],
            Err(E::InvalidHost),
        ),
        (
            "space",
            "GET",
            origin("/"),
            v11,
            &[("host", "a b")],
            Err(E::InvalidHost),
        ),
        (
            "path",
            "GET",
            origin("/"),
            v11,
            &[("host", "a/b")],
            Err(E::InvalidHost),
        ),
        (
            "escape",
            "GET",
            origin("/"),
            v11,
            &[("host", "a%2eb")],
            Err(E::InvalidHost),
        ),
        (
            "empty label",
            "GET",
            origin("/"),
            v11,
            &[("host", "a..b")],
            Err(E::InvalidHost),
        ),
        (
            "leading dot",
            "GET",
            origin("/"),
            v11,
            &[("host", ".a")],
            Err(E::InvalidHost),
        ),
        (
            "dots only",
            "GET",
            origin("/"),
            v11,
            &[("host", ".")],
            Err(E::InvalidHost),
        ),
        (
            "bad literal",
            "GET",
            origin("/"),
            v11,
            &[("host", "[::g]")],
            Err(E::InvalidHost),
        ),
        (
            "zone",
            "GET",
            origin("/"),
            v11,
            &[("host", "[fe80::1%25eth0]")],
            Err(E::InvalidHost),
        ),
        (
            "open literal",
            "GET",
            origin("/"),
            v11,
            &[("host", "[::1")],
            Err(E::InvalidPort),
        ),
        (
            "behind literal",
            "GET",
            origin("/"),
            v11,
            &[("host", "[::1]x")],
            Err(E::InvalidHost),
        ),
        (
            "userinfo",
            "GET",
            origin("/"),
            v11,
            &[("host", "u@a")],
            Err(E::Userinfo),
        ),
        (
            "empty port",
            "GET",
            origin("/"),
            v11,
            &[("host", "a:")],
            Err(E::InvalidPort),
        ),
        (
            "port 0",
            "GET",
            origin("/"),
            v11,
            &[("host", "a:0")],
            Err(E::InvalidPort),
        ),
        (
            "port too large",
            "GET",
            origin("/"),
            v11,
            &[("host", "a:65536")],
            Err(E::InvalidPort),
        ),
        (
            "port not a number",
            "GET",
            origin("/"),
            v11,
            &[("host", "a:8x")],
            Err(E::InvalidPort),
        ),
        (
            "two ports",
            "GET",
            origin("/"),
            v11,
            &[("host", "a:1:2")],
            Err(E::InvalidPort),
        ),
        (
            "absolute",
            "GET",
            absolute("A.b", "/x"),
            v11,
            &[("host", "a.b")],
            Ok("a.b"),
        ),
        (
            "absolute, default port",
            "GET",
            absolute("a", "/"),
            v11,
            &[("host", "a:80")],
            Ok("a"),
        ),
        (
            "absolute, other port",
            "GET",
            absolute("a", "/"),
            v11,
            &[("host", "a:81")],
            Err(E::HostMismatch),
        ),
        (
            "absolute, other host",
            "GET",
            absolute("a", "/"),
            v11,
            &[("host", "b")],
            Err(E::HostMismatch),
        ),
        (
            "absolute, no host",
            "GET",
            absolute("a", "/"),
            v11,
            &[],
            Err(E::MissingHost),
        ),
        (
            "absolute, 1.0",
            "GET",
            absolute("a", "/"),
            v10,
            &[],
            Ok("a"),
        ),
        (
            "absolute, userinfo",
            "GET",
            absolute("u:p@a", "/"),
            v11,
            &[("host", "a")],
            Err(E::Userinfo),
        ),
        (
            "authority of 2",
            "GET",
            absolute("a", "/"),
            Version::Http2,
            &[],
            Ok("a"),
        ),
        (
            "authority of 2 and host",
            "GET",
            absolute("a", "/"),
            Version::Http2,
            &[("host", "b")],
            Err(E::HostMismatch),
        ),
        (
            "connect",
            "CONNECT",
            connect("a:443"),
            v11,
            &[("host", "a:443")],
            Ok("a:443"),
        ),
        (
            "connect, host without port",
            "CONNECT",
            connect("a:443"),
            v11,
            &[("host", "a")],
            Ok("a:443"),
        ),
        (
            "connect, other host",
            "CONNECT",
            connect("a:443"),
            v11,
            &[("host", "b:443")],
            Err(E::HostMismatch),
        ),
        (
            "connect without port",
            "CONNECT",
            connect("a"),
            v11,
            &[("host", "a")],
            Err(E::InvalidPort),
        ),
        (
            "connect to a path",
            "CONNECT",
            origin("/"),
            v11,
            &[("host", "a")],
            Err(E::InvalidTarget),
        ),
        (
            "get with authority",
            "GET",
            connect("a:1"),
            v11,
            &[("host", "a:1")],
            Err(E::InvalidTarget),
        ),
    ];
    for (name, method, target, version, fields, expected) in rows {
        let given = Given {
            method,
            target,
            version,
            fields,
        };
        let found = settled(&given, NormalizeConfig::default()).map(|request| {
            let authority = String::from_utf8(request.authority.to_vec()).unwrap();
            let host = request
                .head
                .fields
                .get(KnownField::Host)
                .unwrap_or_default();
            assert_eq!(host, authority.as_bytes(), "{name}: what is forwarded");
            authority
        });
        assert_eq!(
            found.as_deref(),
            expected.as_ref().map(|text| &**text),
            "{name}"
        );
    }
}

#[test]
fn h10_paths() {
    use RequestError as E;
    let rows: &[(&str, &str, Result<&str, RequestError>)] = &[
        ("plain", "/a/b?c=d", Ok("/a/b?c=d")),
        ("root", "/", Ok("/")),
        ("hidden file", "/.well-known/x", Ok("/.well-known/x")),
        ("three dots", "/.../x", Ok("/.../x")),
        ("dot inside", "/a.b/c..d", Ok("/a.b/c..d")),
        ("one dot", "/a/./b", Ok("/a/b")),
        ("two dots", "/a/../b", Ok("/b")),
        ("two dots at the end", "/a/b/..", Ok("/a/")),
        ("one dot at the end", "/a/.", Ok("/a/")),
        ("dot behind empty segment", "/a//.", Ok("/a//")),
        ("up over an empty segment", "/a//../b", Ok("/a/b")),
        ("up to the root", "/a/..", Ok("/")),
        ("escaped dots", "/a/%2e%2E/b", Ok("/b")),
        ("mixed dots", "/a/.%2e/b", Ok("/b")),
        (
            "doubly escaped dots",
            "/a/%252e%252e/b",
            Ok("/a/%252e%252e/b"),
        ),
        ("above the root", "/..", Err(E::AboveRoot)),
        ("above the root, deep", "/a/../../b", Err(E::AboveRoot)),
        ("above the root, escaped", "/%2e%2e/x", Err(E::AboveRoot)),
        ("dots in the query", "/a?x=/../y", Ok("/a?x=/../y")),
        ("unreserved escape", "/%61dmin", Ok("/admin")),
        ("lower-case escape", "/a%c3%a9", Ok("/a%C3%A9")),
        ("reserved escape", "/a%20b", Ok("/a%20b")),
        ("escaped slash kept", "/a%2fb%5c", Ok("/a%2Fb%5C")),
        ("escaped slash and dots", "/a/..%2fb", Ok("/a/..%2Fb")),
        ("slashes kept", "//a///b//", Ok("//a///b//")),
        ("backslash kept", "/a\\b", Ok("/a\\b")),
        ("escaped question mark", "/a%3Fb", Ok("/a%3Fb")),
        ("no digits", "/a%", Err(E::BadEscape)),
        ("one digit", "/a%2", Err(E::BadEscape)),
        ("no hex", "/a%2g", Err(E::BadEscape)),
        ("escape over the query", "/a%2?0", Err(E::BadEscape)),
        ("escaped nul", "/a%00", Err(E::EscapedNul)),
        ("stray percent in the query", "/a?b=%zz", Ok("/a?b=%zz")),
        ("fragment", "/a#b", Err(E::Fragment)),
        ("fragment behind the query", "/a?b#c", Err(E::Fragment)),
        ("space", "/a b", Err(E::InvalidPath)),
        ("control", "/a\u{1}", Err(E::InvalidPath)),
        ("past ascii", "/\u{e9}", Err(E::InvalidPath)),
        ("control in the query", "/?\u{7f}", Err(E::InvalidPath)),
        ("no slash", "a/b", Err(E::InvalidPath)),
        ("empty", "", Ok("/")),
        ("only a query", "?a", Ok("/?a")),
    ];
    for (name, path, expected) in rows {
        let found = settle_path(path, NormalizeConfig::default());
        assert_eq!(
            found.as_deref(),
            expected.as_ref().map(|text| &**text),
            "{name}"
        );
    }
}

#[test]
fn paths_by_configuration() {
    let merge = NormalizeConfig {
        merge_slashes: true,
        ..NormalizeConfig::default()
    };
    let reject = NormalizeConfig {
        escaped_slashes: EscapedSlashes::Reject,
        ..NormalizeConfig::default()
    };
    let rows = [
        ("merge", merge, "//a///b//", Ok("/a/b/")),
        ("merge only slashes", merge, "///", Ok("/")),
        ("merge and dots", merge, "/a//../b", Ok("/b")),
        ("merge not in the query", merge, "/a?b=//", Ok("/a?b=//")),
        (
            "reject %2f",
            reject,
            "/a%2fb",
            Err(RequestError::EscapedSlash),
        ),
        (
            "reject %5C",
            reject,
            "/a%5Cb",
            Err(RequestError::EscapedSlash),
        ),
        (
            "reject backslash",
            reject,
            "/a\\b",
            Err(RequestError::EscapedSlash),
        ),
        ("query is opaque", reject, "/a?b=%2f\\", Ok("/a?b=%2f\\")),
    ];
    for (name, config, path, expected) in rows {
        assert_eq!(
            settle_path(path, config).as_deref(),
            expected.as_ref().map(|text| &**text),
            "{name}"
        );
    }
}

#[test]
fn a_normal_path_is_not_copied() {
    for path in ["/index.html?q=%20a", "/a%20b", "/.hidden"] {
        let target = Bytes::from_static(path.as_bytes());
        let mut request = request(&Given {
            method: "GET",
            target: Target::origin(target.clone()),
            version: Version::Http11,
            fields: &[("host", "a")],
        });
        settle(&mut request, &NormalizeConfig::default()).unwrap();
        assert_eq!(
            request.head.target.path_and_query.as_ptr(),
            target.as_ptr(),
            "{path}"
        );
    }
}

#[test]
fn absolute_form_becomes_origin_form() {
    let rows = [
        ("path", "GET", "/x", TargetForm::Origin, "/x"),
        ("no path", "GET", "", TargetForm::Origin, "/"),
        ("options", "OPTIONS", "", TargetForm::Asterisk, "*"),
        (
            "options with a path",
            "OPTIONS",
            "/",
            TargetForm::Origin,
            "/",
        ),
    ];
    for (name, method, path, form, expected) in rows {
        let given = Given {
            method,
            target: absolute("a", path),
            version: Version::Http11,
            fields: &[("host", "a")],
        };
        let target = settled(&given, NormalizeConfig::default())
            .unwrap()
            .head
            .target;
        assert_eq!(
            (target.form, &*target.path_and_query),
            (form, expected.as_bytes()),
            "{name}"
        );
        assert_eq!(target.authority, None, "{name}");
    }
}

#[test]
fn h16_underscores() {
    let fields = [("host", "a"), ("x_user", "root"), ("x-user", "me")];
    let rows = [
        ("drop", Underscores::Drop, Ok(2)),
        ("keep", Underscores::Keep, Ok(3)),
        ("reject", Underscores::Reject, Err(RequestError::Underscore)),
    ];
    for (name, underscores, expected) in rows {
        let given = Given {
            method: "GET",
            target: origin("/"),
            version: Version::Http11,
            fields: &fields,
        };
        let config = NormalizeConfig {
            underscores,
            ..NormalizeConfig::default()
        };
        let found = settled(&given, config).map(|request| request.head.fields.len());
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn upgrades() {
    let v11 = Version::Http11;
    type Row<'a> = (
        &'a str,
        Version,
        &'a [(&'a str, &'a str)],
        Framing,
        Option<&'a str>,
    );
    let ws = ("upgrade", "WebSocket");
    let rows: &[Row<'_>] = &[
        (
            "websocket",
            v11,
            &[("connection", "keep-alive, Upgrade"), ws],
            Framing::None,
            Some("websocket"),
        ),
        (
            "not in connection",
            v11,
            &[("connection", "close"), ws],
            Framing::None,
            None,
        ),
        (
            "two protocols",
            v11,
            &[("connection", "upgrade"), ("upgrade", "h2c, websocket")],
            Framing::None,
            None,
        ),
        (
            "two lines",
            v11,
            &[("connection", "upgrade"), ws, ws],
            Framing::None,
            None,
        ),
        (
            "other",
            v11,
            &[("connection", "upgrade"), ("upgrade", "TLS/1.0")],
            Framing::None,
            Some("tls/1.0"),
        ),
        (
            "no token",
            v11,
            &[("connection", "upgrade"), ("upgrade", "a b")],
            Framing::None,
            None,
        ),
        (
            "1.0",
            Version::Http10,
            &[("connection", "upgrade"), ws],
            Framing::None,
            None,
        ),
        (
            "with a body",
            v11,
            &[("connection", "upgrade"), ws],
            Framing::Chunked,
            None,
        ),
    ];
    for (name, version, fields, framing, expected) in rows {
        let mut all = vec![("host", "a")];
        all.extend_from_slice(fields);
        let mut request = request(&Given {
            method: "GET",
            target: origin("/"),
            version: *version,
            fields: &all,
        });
        request.framing = *framing;
        settle(&mut request, &NormalizeConfig::default()).unwrap();
        assert_eq!(
            request.upgrade.as_deref(),
            expected.map(str::as_bytes),
            "{name}"
        );
    }
}

fn any_config() -> impl Strategy<Value = NormalizeConfig> {
    (any::<bool>(), any::<bool>()).prop_map(|(reject, merge_slashes)| NormalizeConfig {
        escaped_slashes: if reject {
            EscapedSlashes::Reject
        } else {
            EscapedSlashes::Keep
        },
        merge_slashes,
        ..NormalizeConfig::default()
    })
}

fn any_path() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("/".to_owned()),
        Just(".".to_owned()),
        Just("..".to_owned()),
        Just("%2e".to_owned()),
        Just("%2F".to_owned()),
        Just("%25".to_owned()),
        Just("%5c".to_owned()),
        Just("%".to_owned()),
        Just("?".to_owned()),
        Just("\\".to_owned()),
        "[a-z0-9]{1,3}",
        "%[0-9a-fA-F]{2}",
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
}

proptest! {
    #[test]
    fn settling_twice_is_settling_once(path in any_path(), config in any_config()) {
        if let Ok(once) = settle_path(&path, config) {
            prop_assert_eq!(settle_path(&once, config), Ok(once));
        }
    }

    #[test]
    fn what_is_settled_has_no_dot_segment(path in any_path(), config in any_config()) {
        if let Ok(settled) = settle_path(&path, config) {
            let path = settled.split('?').next().unwrap_or_default();
            prop_assert!(!has_dot_segment(path.as_bytes()), "{} has a dot segment", path);
            prop_assert!(is_target_path(path.as_bytes()));
            prop_assert!(!(config.merge_slashes && path.contains("//")));
        }
    }

    /// Routes match `target.path()` and `authority`; encoders write `path_and_query` and Host.
    #[test]
    fn what_matches_is_what_is_forwarded(path in any_path(), host in "[a-cA-C.:0-9]{0,8}") {
        let given = Given {
            method: "GET",
            target: origin(&path),
            version: Version::Http11,
            fields: &[("host", &host)],
        };
        if let Ok(request) = settled(&given, NormalizeConfig::default()) {
            let target = &request.head.target;
            prop_assert!(target.path_and_query.starts_with(target.path()));
            prop_assert_eq!(request.head.fields.get(KnownField::Host), Some(&*request.authority));
            prop_assert_eq!(target.authority.as_ref(), None);
            prop_assert!(request.authority.starts_with(request.host()));
        }
    }

    #[test]
    fn any_bytes_are_settled_or_refused(path in proptest::collection::vec(any::<u8>(), 0..40)) {
        let mut input = vec![b'/'];
        input.extend_from_slice(&path);
        let _ = path::normalize(&input, NormalizeConfig::default());
    }
}
