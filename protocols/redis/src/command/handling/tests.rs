use super::super::Flags;
use super::*;

#[test]
fn commands_are_handled_by_what_they_do() {
    use Handling::{FanOut, Forward};
    let rows = [
        (CommandId::GET, Forward),
        (CommandId::EVAL, Forward),
        (CommandId::MSETNX, Forward),
        (CommandId::COMMAND, Forward),
        (CommandId::MGET, Handling::Split(Split::Values)),
        (CommandId::MSET, Handling::Split(Split::Pairs)),
        (CommandId::DEL, Handling::Split(Split::Count)),
        (CommandId::DBSIZE, FanOut(Scope::Primaries, Merge::Sum)),
        (CommandId::SCAN, FanOut(Scope::Primaries, Merge::Cursor)),
        (
            CommandId::SCRIPT_LOAD,
            FanOut(Scope::Endpoints, Merge::Same),
        ),
        (CommandId::HELLO, Handling::Local(Local::Hello)),
        (CommandId::SELECT, Handling::Local(Local::Select)),
        (CommandId::MULTI, Handling::Pin(Pin::Transaction)),
        (CommandId::XREAD, Handling::Pin(Pin::Blocking)),
        (CommandId::CLIENT_TRACKING, Handling::Pin(Pin::Tracking)),
    ];
    for (command, expected) in rows {
        assert_eq!(command.handling(), expected, "{command:?}");
    }
}

#[test]
fn plain_commands_have_one_key_and_nothing_else_to_them() {
    let rows = [
        ("get", Some(1)),
        ("set", Some(1)),
        ("hgetall", Some(1)),
        ("object|encoding", Some(2)),
        ("xgroup|create", Some(2)),
        // Spread, answered here, without a key, with several or at no certain place, waiting.
        ("mget", None),
        ("del", None),
        ("ping", None),
        ("command", None),
        ("publish", None),
        ("rename", None),
        ("eval", None),
        ("evalsha", None),
        ("zunion", None),
        ("sort", None),
        ("blpop", None),
        ("watch", None),
        ("object", None),
    ];
    for (name, expected) in rows {
        let command = CommandId::of_full_name(name.as_bytes()).unwrap();
        assert_eq!(command.plain_key(), expected, "{name}");
    }
    assert_eq!(CommandId::FOREIGN.plain_key(), None);
}

#[test]
fn dangerous_commands_are_denied_by_default() {
    let rows: [(&str, Option<Denial>); 20] = [
        ("get", None),
        ("keys", None),
        ("eval", None),
        ("info", None),
        ("monitor", Some(Denial::OtherClients)),
        ("client|kill", Some(Denial::OtherClients)),
        ("slowlog|get", Some(Denial::OtherClients)),
        ("config|set", Some(Denial::Server)),
        ("config|get", Some(Denial::Server)),
        ("config|help", None),
        ("debug", Some(Denial::Server)),
        ("shutdown", Some(Denial::Server)),
        ("acl|setuser", Some(Denial::Server)),
        ("acl|whoami", None),
        ("module|load", Some(Denial::Server)),
        ("replicaof", Some(Denial::Topology)),
        ("cluster|reset", Some(Denial::Topology)),
        ("cluster|slots", None),
        ("script|kill", Some(Denial::Code)),
        ("flushall", Some(Denial::WholeKeyspace)),
    ];
    for (name, expected) in rows {
        let command = CommandId::of_full_name(name.as_bytes()).unwrap();
        assert_eq!(command.denial(), expected, "{name}");
    }
}

#[test]
fn what_redis_calls_for_operators_is_looked_at_one_by_one() {
    // Every command for operators is denied, or is one of these.
    let allowed = [
        "client|list", // Answered as if there were no other client.
        "client|no-evict",
    ];
    for command in CommandId::all().filter(|command| command.flags().contains(Flags::ADMIN)) {
        let is_allowed = allowed.contains(&command.name());
        assert_eq!(command.denial().is_none(), is_allowed, "{command:?}");
    }
}

#[test]
fn blocking_commands_never_share_a_connection() {
    for command in CommandId::all().filter(|command| command.flags().contains(Flags::BLOCKING)) {
        assert_eq!(
            command.handling(),
            Handling::Pin(Pin::Blocking),
            "{command:?}"
        );
    }
}

#[test]
fn nothing_that_has_keys_is_sent_everywhere() {
    for command in CommandId::all().filter(|command| !command.key_specs().is_empty()) {
        assert!(
            !matches!(command.handling(), Handling::FanOut(..)),
            "{command:?}"
        );
    }
}
