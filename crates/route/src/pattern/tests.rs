use proptest::prelude::*;

use super::*;
use crate::{Covers, Match};

#[test]
fn hosts() {
    let cases: [(&str, &[&str], &[&str]); 5] = [
        (
            "example.com",
            &["example.com", "EXAMPLE.com", "example.com."],
            &["a.example.com", "xexample.com", "example.com..", ""],
        ),
        (
            "*.Example.com",
            &["a.example.com", "a.b.EXAMPLE.com", "a.example.com."],
            &["example.com", ".example.com", "aexample.com"],
        ),
        ("*", &["", "anything", "a..b"], &[]),
        ("[2001:DB8::1]", &["[2001:db8::1]"], &["2001:db8::1"]),
        ("127.0.0.1", &["127.0.0.1"], &["127.0.0.11"]),
    ];
    for (text, yes, no) in cases {
        let pattern = HostPattern::parse(text).unwrap();
        for host in yes {
            assert!(pattern.matches(host.as_bytes()), "{text} matches {host}");
        }
        for host in no {
            assert!(!pattern.matches(host.as_bytes()), "{text} refuses {host}");
        }
    }
}

#[test]
fn paths() {
    let cases: [(&str, &[&str], &[&str]); 15] = [
        ("/a", &["/a"], &["/a/", "/A", "/", "/ab", ""]),
        (
            "/a/*",
            &["/a", "/a/", "/a/b", "/a/b/c"],
            &["/ab", "/", "/b"],
        ),
        ("/*", &["/", "/a", "/a/b", "//"], &["", "*"]),
        ("*", &["", "*", "/a"], &[]),
        ("/a/", &["/a/"], &["/a", "/a/b"]),
        (
            "/a/*/c",
            &["/a/b/c"],
            &["/a//c", "/a/c", "/a/b/b/c", "/a/b/c/"],
        ),
        (
            "/a/*.png",
            &["/a/x.png", "/a/.png", "/a/x.png.png"],
            &["/a/b/x.png", "/a/x.pn"],
        ),
        ("/a*", &["/a", "/abc"], &["/a/", "/b"]),
        ("/a/**", &["/a/", "/a/b", "/a/b/c"], &["/a", "/b"]),
        (
            "/a/**/c",
            &["/a/c", "/a/b/c", "/a/b/b/c", "/a//c"],
            &["/a/bc", "/ac", "/a/b/cc"],
        ),
        (
            "/**.png",
            &["/x.png", "/a/b.png", "/.png"],
            &["/x.jpg", "x.png"],
        ),
        ("/a/**b", &["/a/b", "/a/x/yb"], &["/a/x", "/b"]),
        (
            "/a/*/c/*",
            &["/a/b/c", "/a/b/c/", "/a/b/c/d/e"],
            &["/a/b/cd", "/a/b"],
        ),
        (
            "/**/b/**/d",
            &["/b/d", "/x/b/d", "/x/b/y/z/d"],
            &["/b", "/d", "/xb/d"],
        ),
        ("~^/v[0-9]+/", &["/v1/", "/v22/x"], &["/v/", "/x/v1/"]),
    ];
    for (text, yes, no) in cases {
        let pattern = PathPattern::parse(text).unwrap();
        for path in yes {
            assert!(pattern.matches(path.as_bytes()), "{text} matches {path}");
        }
        for path in no {
            assert!(!pattern.matches(path.as_bytes()), "{text} refuses {path}");
        }
    }
}

#[test]
fn values() {
    type Row<'a> = (&'a str, &'a [Option<&'a str>], &'a [Option<&'a str>]);
    let cases: [Row<'_>; 7] = [
        ("a", &[Some("a")], &[None, Some(""), Some("ab"), Some("A")]),
        ("a*", &[Some("a"), Some("ab")], &[None, Some("b")]),
        ("*", &[Some(""), Some("a")], &[None]),
        ("!", &[None], &[Some("")]),
        ("~^[0-9]+$", &[Some("42")], &[None, Some("4x")]),
        ("=*/*", &[Some("*/*")], &[None, Some("a/b")]),
        ("=", &[Some("")], &[None, Some("=")]),
    ];
    for (text, yes, no) in cases {
        let pattern = ValuePattern::parse(text).unwrap();
        for value in yes {
            assert!(
                pattern.matches(value.map(str::as_bytes)),
                "{text} {value:?}"
            );
        }
        for value in no {
            assert!(
                !pattern.matches(value.map(str::as_bytes)),
                "{text} {value:?}"
            );
        }
    }
    let any_of = ValuePattern::parse("b*").unwrap();
    assert!(any_of.matches_any([b"a".as_slice(), b"bc"]));
}

#[test]
fn methods() {
    let set = MethodSet::parse("POST, GET,GET").unwrap();
    assert_eq!(set.to_string(), "GET,POST");
    assert!(set.matches(b"GET".as_slice()));
    assert!(!set.matches(b"HEAD".as_slice()));
    assert!(set.covers(&MethodSet::parse("GET").unwrap()));
    assert!(!MethodSet::parse("GET").unwrap().covers(&set));
    assert!(MethodSet::parse("PROPFIND").is_ok());
}

#[test]
fn refusals_say_why() {
    fn reason<T: std::str::FromStr<Err = PatternError>>(text: &str) -> String {
        text.parse::<T>()
            .err()
            .map_or_else(String::new, |e| e.reason)
    }
    let cases = [
        (reason::<HostPattern>(""), "cannot be empty"),
        (reason::<HostPattern>("a.com:80"), "port is not part"),
        (reason::<HostPattern>("a.*.com"), "whole first label"),
        (reason::<HostPattern>("*a.com"), "whole first label"),
        (
            reason::<HostPattern>("a..com"),
            "label between dots is empty",
        ),
        (
            reason::<HostPattern>("a.com."),
            "label between dots is empty",
        ),
        (reason::<HostPattern>("bücher.de"), "xn--"),
        (reason::<HostPattern>("a/b"), "'/' is not allowed"),
        (reason::<HostPattern>("[::g]"), "IPv6"),
        (reason::<HostPattern>(&"a".repeat(254)), "253"),
        (reason::<PathPattern>("a/b"), "must start with `/`"),
        (
            reason::<PathPattern>("/%61dmin"),
            "'%61' is made 'a' before",
        ),
        (
            reason::<PathPattern>("/%2fadmin/*"),
            "'%2f' is made '%2F' before",
        ),
        (reason::<PathPattern>("/a%"), "'%' is no escape"),
        (
            reason::<PathPattern>("/a b"),
            "a path has ' ' only as an escape",
        ),
        (reason::<PathPattern>("/a/../b"), "'..' is resolved before"),
        (reason::<PathPattern>("/caf\u{e9}"), "only as an escape"),
        (reason::<PathPattern>("/a?b=c"), "without query"),
        (reason::<PathPattern>("/a/***"), "three stars"),
        (
            reason::<PathPattern>(&format!("/*/{}", "x".repeat(130))),
            "at most 120",
        ),
        (reason::<PathPattern>(&"/x".repeat(2500)), "at most 4096"),
        (reason::<PathPattern>("~"), "empty"),
        (reason::<PathPattern>("~("), "not a regular expression"),
        (
            reason::<PathPattern>("~(a{1000}){1000}"),
            "compiles to more than",
        ),
        (reason::<ValuePattern>("a*b"), "only understood at the end"),
        (reason::<ValuePattern>("!a"), "means absent"),
        (reason::<MethodSet>("get"), "write GET"),
        (reason::<MethodSet>("GET,"), "cannot be empty"),
        (reason::<MethodSet>("G T"), "' ' is not allowed"),
    ];
    for (reason, expected) in cases {
        assert!(reason.contains(expected), "{reason:?} says {expected:?}");
    }
}

#[test]
fn certain_covers() {
    let cases = [
        ("/*", "/a/**/b", true),
        ("/a/*", "/a/*/b", true),
        ("/a/*", "/a/*", true),
        ("/a/*", "/a/b/*/c/*", true),
        ("/a/*", "/a*", false),
        ("/a/**", "/a/*", false),
        ("/**", "/*", false), // by caution: the prefix is not asked for the empty path
        ("/**.png", "/img/*.png", true),
        ("/*/b", "/a/b", true),
        ("/**/b", "/*/b", true),
        ("/*/b", "/**/b", false),
        ("/*/b/*", "/a/b/c/*", true),
        ("/a/**/z", "/a/*/*/z", true),
        ("/a/**/z", "/a/**/m/**/z", true),
        ("/a/b", "/a/*", false),
        ("*", "~x", true),
        ("/*", "~x", false),
        ("~x", "~x", true),
        ("~a", "/a", true),
    ];
    for (ours, theirs, expected) in cases {
        let (a, b) = (
            PathPattern::parse(ours).unwrap(),
            PathPattern::parse(theirs).unwrap(),
        );
        assert_eq!(a.covers(&b), expected, "{ours} covers {theirs}");
    }
}

/// Short texts over few bytes, so that samples hit patterns often.
fn path_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof!["a", "b", "/", "/", "\\*", "/\\*", "/\\*\\*/", "\\*\\*"];
    prop_oneof![
        8 => proptest::collection::vec(piece, 0..6).prop_map(|pieces| format!("/{}", pieces.concat())),
        1 => Just("*".to_owned()),
        1 => prop_oneof!["~\\^/a", "~b\\$"],
    ]
}

fn host_text() -> impl Strategy<Value = String> {
    prop_oneof!["\\*", "(\\*\\.)?[ab](\\.[ab]){0,3}"]
}

fn value_text() -> impl Strategy<Value = String> {
    prop_oneof!["[ab]{1,3}\\*?", "\\*", "!", "=[ab*]{0,3}", "~\\^[ab]{0,2}"]
}

fn check_covers<P, S: AsRef<[u8]>>(a: &P, b: &P, samples: &[S]) -> Result<(), TestCaseError>
where
    P: Covers + Match<[u8]> + std::fmt::Display,
{
    for sample in samples {
        let sample = sample.as_ref();
        if a.covers(b) && b.matches(sample) {
            prop_assert!(a.matches(sample), "{} covers {} but not {:?}", a, b, sample);
        }
    }
    Ok(())
}

/// The obvious matcher: try every way to spend the stars. Exponential, for short samples only.
fn slow_glob(steps: &[glob::Step], path: &[u8]) -> bool {
    use glob::Step;
    let Some((step, rest)) = steps.split_first() else {
        return path.is_empty();
    };
    let ends = || 0..=path.len();
    match step {
        Step::Byte(byte) => path
            .split_first()
            .is_some_and(|(b, after)| b == byte && slow_glob(rest, after)),
        Step::Within => ends().any(|n| !path[..n].contains(&b'/') && slow_glob(rest, &path[n..])),
        Step::Segment => {
            ends().any(|n| n > 0 && !path[..n].contains(&b'/') && slow_glob(rest, &path[n..]))
        }
        Step::Across => ends().any(|n| slow_glob(rest, &path[n..])),
        Step::Segments => {
            ends().any(|n| (n == 0 || path[..n].ends_with(b"/")) && slow_glob(rest, &path[n..]))
        }
        Step::Rest => path.is_empty() || path.starts_with(b"/"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn path_covers_is_never_contradicted(
        a in path_text(),
        b in path_text(),
        samples in proptest::collection::vec("/[ab/]{0,6}", 1..40),
    ) {
        if let (Ok(a), Ok(b)) = (PathPattern::parse(&a), PathPattern::parse(&b)) {
            check_covers(&a, &b, &samples)?;
        }
    }

    #[test]
    fn host_covers_is_never_contradicted(
        a in host_text(),
        b in host_text(),
        samples in proptest::collection::vec("[ab](\\.[ab]){0,4}", 1..40),
    ) {
        check_covers(&HostPattern::parse(&a).unwrap(), &HostPattern::parse(&b).unwrap(), &samples)?;
    }

    #[test]
    fn value_covers_is_never_contradicted(
        a in value_text(),
        b in value_text(),
        samples in proptest::collection::vec(proptest::option::of("[ab*]{0,4}"), 1..40),
    ) {
        let (a, b) = (ValuePattern::parse(&a).unwrap(), ValuePattern::parse(&b).unwrap());
        for sample in &samples {
            let sample = sample.as_deref().map(str::as_bytes);
            if a.covers(&b) && b.matches(sample) {
                prop_assert!(a.matches(sample), "{} covers {} but not {:?}", a, b, sample);
            }
        }
    }

    #[test]
    fn globs_agree_with_the_obvious_matcher(text in path_text(), path in "/[ab/]{0,7}") {
        if let Ok(glob) = glob::Glob::parse(&text) {
            prop_assert_eq!(glob.matches(path.as_bytes()), slow_glob(glob.steps(), path.as_bytes()), "{} on {}", text, path);
        }
    }

    #[test]
    fn display_parses_back(path in path_text(), host in host_text(), value in value_text()) {
        if let Ok(path) = PathPattern::parse(&path) {
            prop_assert_eq!(PathPattern::parse(&path.to_string()), Ok(path));
        }
        let host = HostPattern::parse(&host).unwrap();
        prop_assert_eq!(HostPattern::parse(&host.to_string()), Ok(host));
        let value = ValuePattern::parse(&value).unwrap();
        prop_assert_eq!(ValuePattern::parse(&value.to_string()), Ok(value));
    }

    #[test]
    fn any_text_parses_or_is_refused(text in ".{0,40}", input in proptest::collection::vec(any::<u8>(), 0..60)) {
        let _ = PathPattern::parse(&text).map(|p| p.matches(&input));
        let _ = HostPattern::parse(&text).map(|p| p.matches(&input));
        let _ = ValuePattern::parse(&text).map(|p| p.matches(Some(&input)));
        let _ = MethodSet::parse(&text);
    }
}

#[test]
fn patterns_cross_threads_and_read_from_text() {
    fn check<T: Send + Sync + Clone + 'static>() {}
    check::<PathPattern>();
    check::<HostPattern>();
    check::<ValuePattern>();
    check::<MethodSet>();
    let path: PathPattern = serde_json::from_str("\"/a/*\"").unwrap();
    assert_eq!(serde_json::to_string(&path).unwrap(), "\"/a/*\"");
    assert!(serde_json::from_str::<PathPattern>("\"a\"").is_err());
}
