use proptest::prelude::*;

use super::*;

#[test]
fn patterns_match_as_they_do_in_redis() {
    // More, held against a server, are in `tests/commands/acl.md` and in the end-to-end tests.
    let rows: [(&str, &str, bool); 28] = [
        ("", "", true),
        ("", "a", false),
        ("*", "a", true),
        ("*", "", false),
        ("**", "", false),
        ("a", "a", true),
        ("a", "ab", false),
        ("a*", "a", true),
        ("a*", "abc", true),
        ("a*", "b", false),
        ("a**", "a", true),
        ("*a", "bca", true),
        ("*a*", "bac", true),
        ("a*b*c", "a1b2c", true),
        ("a*b*c", "a1c2b", false),
        ("*ab", "aab", true),
        ("a?c", "abc", true),
        ("a?c", "ac", false),
        ("[ab]c", "bc", true),
        ("[^ab]c", "bc", false),
        ("[a-c]", "b", true),
        ("[c-a]", "b", true),
        ("[a", "a", true),
        ("[", "[", false),
        ("\\*", "*", true),
        ("\\*", "a", false),
        ("\\", "\\", true),
        ("[\\]]", "]", true),
    ];
    for (pattern, text, expected) in rows {
        let glob = Glob::new(pattern.as_bytes()).unwrap();
        assert_eq!(
            glob.matches(text.as_bytes()),
            expected,
            "`{pattern}` on `{text}`"
        );
    }
}

#[test]
fn patterns_have_a_longest() {
    assert!(Glob::new(&[b'a'; Glob::LONGEST]).is_ok());
    assert_eq!(Glob::new(&[b'a'; Glob::LONGEST + 1]), Err(PatternTooLong));
}

#[test]
fn many_stars_take_no_longer_than_pattern_times_text() {
    // What takes a matcher that tries everything longer than anyone waits.
    let pattern = "a*".repeat(Glob::LONGEST / 2);
    let glob = Glob::new(pattern.as_bytes()).unwrap();
    let text = "a".repeat(20_000);
    assert!(glob.matches(text.as_bytes()));
    let pattern = "*a".repeat(400) + "*b";
    let glob = Glob::new(pattern.as_bytes()).unwrap();
    assert!(!glob.matches(text.as_bytes()));
}

/// The definition, tried out in full.
fn tries_everything(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => {
            (0..=text.len()).any(|taken| tries_everything(rest, &text[taken..]))
        }
        (_, []) | ([], _) => false,
        (_, [byte, left @ ..]) => {
            let (is_one, rest) = one(pattern, *byte);
            is_one && tries_everything(rest, left)
        }
    }
}

proptest! {
    #[test]
    fn the_last_star_is_enough(pattern in "[ab*?]{0,9}|[ab*?^\\[\\]\\\\-]{0,9}", text in "[ab\\]^-]{1,9}") {
        let glob = Glob::new(pattern.as_bytes()).unwrap();
        prop_assert_eq!(glob.matches(text.as_bytes()), tries_everything(pattern.as_bytes(), text.as_bytes()));
    }

    #[test]
    fn nothing_panics(pattern in prop::collection::vec(any::<u8>(), 0..40), text in prop::collection::vec(any::<u8>(), 0..60)) {
        let _ = Glob::new(&pattern).unwrap().matches(&text);
    }
}
