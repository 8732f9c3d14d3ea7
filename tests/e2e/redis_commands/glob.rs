//! Patterns against a server's, which matches the names of keys in access rules with the code that it matches all with.

use harness::redis::{Redis, RedisReply};
use portcullis_redis::acl::Glob;
use portcullis_testkit::Random;

const PARTS: &[&str] = &[
    "a", "b", "c", "*", "*", "**", "?", "[ab]", "[^a]", "[a-c]", "[c-a]", "[", "]", "[^", "\\",
    "\\*", "\\a", "[\\]]", "-", "^", "[a-", "[-a]", "[]", "[^]a]", "aa",
];
const LETTERS: &[&str] = &["a", "b", "c", "aa", "]", "[", "*", "\\", "-", "^", "?"];

#[test]
fn patterns_match_what_they_match_in_a_server() {
    let Some(server) = Redis::start() else { return };
    let mut admin = server.client();
    let (mut random, seed) = Random::from_environment(11);
    let mut matched = 0;
    for _ in 0..1500 {
        let pattern = some(&mut random, PARTS, 6);
        // `~*` is a rule of its own, and `reset` clears what it set.
        let rule = format!("%R~{pattern}");
        let set = admin.call(&["ACL", "SETUSER", "u", "reset", "+get", &rule]);
        assert_eq!(set, RedisReply::Simple("OK".to_owned()), "{rule}");
        let glob = Glob::new(pattern.as_bytes()).unwrap();
        for _ in 0..12 {
            let key = some(&mut random, LETTERS, 6);
            let theirs = admin.call(&["ACL", "DRYRUN", "u", "get", &key]).text() == "OK";
            let ours = glob.matches(key.as_bytes());
            assert_eq!(ours, theirs, "seed {seed}: `{pattern}` on `{key}`");
            matched += usize::from(ours);
        }
    }
    assert!(
        matched > 1000,
        "{matched} matches are too few to say anything"
    );
}

fn some(random: &mut Random, parts: &[&str], most: usize) -> String {
    let count = random.below(most + 1);
    (0..count)
        .map(|_| parts[random.below(parts.len())])
        .collect()
}
