//! What is read, what is refused and in which words; that the documents say every key.

use portcullis_config::{Diagnostics, Source, load};

use super::*;

fn read(yaml: &str) -> (Option<RedisConfig>, String) {
    let source = Source::new("test.yaml", yaml);
    let mut diagnostics = Diagnostics::new(&source);
    let node = load(&source, &|_| None, &mut diagnostics).expect("YAML");
    let clusters = ["cache", "sessions", "spare"].map(str::to_owned);
    let config = RedisConfig::read(
        &node,
        &mut ReadContext {
            path: "listeners.cache",
            clusters: &clusters,
            diagnostics: &mut diagnostics,
        },
    );
    (config, diagnostics.render(false))
}

#[track_caller]
fn good(yaml: &str) -> RedisConfig {
    let (config, problems) = read(yaml);
    assert!(problems.is_empty(), "{problems}");
    config.expect("a configuration")
}

/// The example in `CONFIG.md`, and that it says everything that can be said.
#[test]
fn the_documented_example_is_read() {
    let document = include_str!("../../CONFIG.md");
    let example = document.split("```yaml").nth(1).unwrap();
    let example = example.split("```").next().unwrap();
    let config = good(example);
    assert_eq!(config.routes.len(), 4);
    assert_eq!(config.routes[0].name.as_deref(), Some("sessions"));
    assert_eq!(config.filters.0.len(), 9);
    assert!(config.allow_commands.contains(&CommandId::CONFIG_GET));
    let policy = config.policy();
    assert!(policy.users.at_first().is_none());
    assert!(
        policy
            .users
            .authenticate(b"app", b"plain text, or a variable")
            .is_some()
    );
    assert!(policy.denial(CommandId::FLUSHDB).is_none());
    assert!(policy.denial(CommandId::FLUSHALL).is_some());
    let keys = RedisConfig::schema();
    for key in keys["properties"].as_object().unwrap().keys() {
        let is_there = example.contains(&format!("{key}:")) || key == "cluster";
        assert!(is_there, "the example does not say {key}");
    }
    let route = &keys["properties"]["routes"]["items"]["properties"];
    for key in route.as_object().expect("what a route is").keys() {
        let is_there = example.contains(&format!("{key}:"));
        assert!(is_there, "the example does not say {key} of a route");
    }
    let way = &config.routes[1].way;
    let renaming = way.renaming.as_ref().unwrap();
    assert_eq!(
        (&*renaming.strip, &*renaming.add),
        (&b"report:"[..], &b"r:"[..])
    );
    let mirror = config.routes[3].way.mirror.as_ref().unwrap();
    assert_eq!(
        (mirror.percent.millionths(), mirror.pending),
        (100_000, 1024)
    );
    assert!(config.routes[0].way.collapses);
    assert_eq!(config.routes[0].read_cluster.as_deref(), Some("spare"));
}

#[test]
fn everybody_may_come_in_unless_something_is_said() {
    let nobody_asked = good("cluster: cache").policy();
    assert!(nobody_asked.users.at_first().is_some());
    let password = good("cluster: cache\nauth: { password: a }").policy();
    assert!(password.users.at_first().is_none());
    assert!(password.users.authenticate(b"default", b"a").is_some());
    let users = good("cluster: cache\nauth: { users: { app: { password: a } } }").policy();
    assert!(users.users.at_first().is_none());
    assert!(users.users.authenticate(b"default", b"").is_none());
}

#[test]
fn prefixes_that_do_not_meet_are_good() {
    let rows = [
        "routes: [{ match: { user: x }, cluster: cache, key: { add_prefix: \"a:\" } }, { cluster: cache, key: { add_prefix: \"ab:\" } }]",
        "routes: [{ match: { user: x }, cluster: cache, key: { add_prefix: a } }, { cluster: spare, key: { add_prefix: ab } }]",
        "routes: [{ match: { user: x }, cluster: cache, key: { add_prefix: a } }, { cluster: cache, key: { add_prefix: a } }]",
        "routes: [{ match: { user: x }, cluster: cache, key: { strip_prefix: a } }, { cluster: cache, key: { add_prefix: a } }]",
    ];
    for yaml in rows {
        good(yaml);
    }
}

#[test]
fn mistakes_are_found_and_named() {
    let cases = [
        ("{}", "does not say where commands go"),
        ("cluster: cache\nlimits: { output: 0B }", "a limit of 0"),
        ("cluster: cache\nlimits: { value: 0B }", "a limit of 0"),
        ("cluster: cach", "unknown cluster 'cach'"),
        (
            "cluster: cache\nroutes: [{ cluster: cache }]",
            "either a cluster or routes",
        ),
        ("routes: []", "there are no routes"),
        (
            "routes: [{ cluster: cache }, { match: { key: a }, cluster: spare }]",
            "can never match",
        ),
        (
            "routes: [{ match: { key: \"a*\" }, cluster: cache }, { match: { key: \"ab\" }, cluster: spare }, { cluster: cache }]",
            "can never match",
        ),
        (
            "routes: [{ match: { command: gett }, cluster: cache }]",
            "there is no command 'gett'",
        ),
        (
            "routes: [{ match: { command: \"@reed\" }, cluster: cache }]",
            "there is no category 'reed'",
        ),
        (
            "routes: [{ name: a, match: { key: x }, cluster: cache }, { name: a, cluster: cache }]",
            "two routes are named 'a'",
        ),
        (
            "routes: [{ cluster: cache, read_cluster: spar }]",
            "unknown cluster 'spar'",
        ),
        (
            "routes: [{ cluster: cache, mirror: { cluster: spar } }]",
            "unknown cluster 'spar'",
        ),
        (
            "routes: [{ cluster: cache, mirror: { cluster: cache } }]",
            "copies would go where commands go",
        ),
        (
            "routes: [{ cluster: cache, mirror: { cluster: spare, commands: some } }]",
            "commands",
        ),
        (
            "routes: [{ cluster: cache, key: {} }]",
            "keys would be called upstream as they are here",
        ),
        (
            "routes: [{ cluster: cache, key: { add_prefix: a, strip_prefix: a } }]",
            "keys would be called upstream as they are here",
        ),
        (
            "routes: [{ match: { user: x }, cluster: cache, key: { add_prefix: a } }, { cluster: cache, key: { add_prefix: ab } }]",
            "the prefix 'ab' begins with 'a', that of another route",
        ),
        (
            "routes: [{ match: { user: x }, cluster: cache, key: { add_prefix: a } }, { cluster: spare, read_cluster: cache, key: { add_prefix: ab } }]",
            "the prefix 'ab' begins with 'a', that of another route",
        ),
        (
            "cluster: cache\nallow_commands: [nosuch]",
            "there is no command 'nosuch'",
        ),
        (
            "cluster: cache\nallow_commands: [get]",
            "'get' is not refused",
        ),
        (
            "cluster: cache\nauth: { users: { a: { rules: \"+nosuch\" } } }",
            "the rules of user 'a' are wrong",
        ),
        (
            "cluster: cache\nauth: { password: a, users: { default: { password: b } } }",
            "who is among `users`",
        ),
        (
            "cluster: cache\nupstream: { user: a }",
            "a user without a password",
        ),
        (
            "cluster: cache\nfilters: [{deny: {command: keys, client: []}}]",
            "`client` lists nothing",
        ),
        (
            "cluster: cache\nfilters: [deny]",
            "would refuse every command",
        ),
        ("cluster: cache\nfilters: [fault]", "the fault does nothing"),
        (
            "cluster: cache\nfilters: [{ fault: { abort: { error: no } } }]",
            "a word in capital letters",
        ),
        ("cluster: cache\nlimits: { pipeline: 0 }", "pipeline"),
        (
            "cluster: cache\ncommands: [{ name: get }]",
            "'get' is a command of Redis",
        ),
        (
            "cluster: cache\ncommands: [{ name: \"a b\" }]",
            "is no name of a command",
        ),
        (
            "cluster: cache\ncommands: [{ name: ft.search }, { name: FT.SEARCH }]",
            "two rules are about 'ft.search'",
        ),
        (
            "cluster: cache\ncommands: [{ name: a.b, categories: [reed] }]",
            "there is no category 'reed'",
        ),
        (
            "cluster: cache\ncommands: [{ name: a.b, keys: { first: 0 } }]",
            "keys begin behind the name",
        ),
        (
            "cluster: cache\ncommands: [{ name: a.b, keys: { first: 2, last: 1 } }]",
            "the last key is before the first",
        ),
        ("cluster: cache\nunknown_commands: no", "unknown_commands"),
    ];
    for (yaml, expected) in cases {
        let (_, problems) = read(yaml);
        assert!(problems.contains(expected), "{yaml}: {problems}");
    }
}

#[test]
fn listeners_whose_prefixes_meet_are_told_of() {
    let of = |cluster: &str, prefix: &str| {
        good(&format!(
            "routes: [{{ cluster: {cluster}, key: {{ add_prefix: \"{prefix}\" }} }}]"
        ))
    };
    let rows = [
        (
            "cache",
            "a:",
            "cache",
            "a:b:",
            Some("'a:' reach keys of the prefix 'a:b:'"),
        ),
        (
            "cache",
            "a:b:",
            "cache",
            "a:",
            Some("'a:' reach keys of the prefix 'a:b:'"),
        ),
        ("cache", "a:", "cache", "b:", None),
        ("cache", "a:", "sessions", "a:b:", None),
        // The same clients may have two listeners.
        ("cache", "a:", "cache", "a:", None),
    ];
    for (one, prefix, other, other_prefix, expected) in rows {
        let said = of(one, prefix).shared_prefix(&of(other, other_prefix));
        let is_right = match (&said, expected) {
            (Some(said), Some(expected)) => said.contains(expected),
            (said, expected) => said.is_none() && expected.is_none(),
        };
        assert!(is_right, "{one} {prefix} {other} {other_prefix}: {said:?}");
    }
    let plain = good("cluster: cache");
    assert_eq!(plain.shared_prefix(&of("cache", "a:")), None);
}
