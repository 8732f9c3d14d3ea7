use super::*;

#[test]
fn commands_are_found_by_name_in_any_case() {
    let rows = [
        ("lower", "get", Some(CommandId::GET)),
        ("upper", "GET", Some(CommandId::GET)),
        ("mixed", "gEt", Some(CommandId::GET)),
        ("hyphen", "RESTORE-asking", Some(CommandId::RESTORE_ASKING)),
        (
            "longest",
            "GEORADIUSBYMEMBER_ro",
            Some(CommandId::GEORADIUSBYMEMBER_RO),
        ),
        ("empty", "", None),
        ("unknown", "gett", None),
        ("prefix", "ge", None),
        ("subcommand", "config|get", None),
        ("hyphen with its case bit", "restore\rasking", None),
        ("underscore with its case bit", "eval\x7fro", None),
        ("too long", "georadiusbymember_roo", None),
        ("NUL behind", "get\0", None),
    ];
    for (name, text, expected) in rows {
        assert_eq!(CommandId::of(text.as_bytes()), expected, "{name}");
    }
}

#[test]
fn every_row_is_found_by_its_own_name() {
    for command in CommandId::all() {
        let name = command.name();
        assert_eq!(
            CommandId::of_full_name(name.as_bytes()),
            Some(command),
            "{name}"
        );
        let upper = name.to_ascii_uppercase();
        assert_eq!(
            CommandId::of_full_name(upper.as_bytes()),
            Some(command),
            "{name}"
        );
        assert_eq!(
            CommandId::from_index(command.index()),
            Some(command),
            "{name}"
        );
        assert_eq!(name, name.to_ascii_lowercase());
    }
    assert_eq!(CommandId::from_index(CommandId::COUNT), None);
}

#[test]
fn the_table_is_that_of_redis_7() {
    let commands = CommandId::all().filter(|command| command.parent().is_none());
    assert_eq!(commands.count(), 240);
    assert_eq!(CommandId::COUNT, 366);
    let names: std::collections::BTreeSet<&str> = CommandId::all().map(CommandId::name).collect();
    assert_eq!(names.len(), CommandId::COUNT);
}

#[test]
fn calls_are_resolved_to_subcommands() {
    let rows: [(&str, &[&str], Result<CommandId, Unknown>); 9] = [
        ("nothing", &[], Err(Unknown::Empty)),
        ("plain", &["get", "a"], Ok(CommandId::GET)),
        ("unknown", &["foo", "a"], Err(Unknown::Command)),
        (
            "subcommand",
            &["Config", "Get", "x"],
            Ok(CommandId::CONFIG_GET),
        ),
        (
            "hyphens",
            &["client", "no-evict", "on"],
            Ok(CommandId::CLIENT_NO_EVICT),
        ),
        (
            "no such subcommand",
            &["config", "x"],
            Err(Unknown::Subcommand(CommandId::CONFIG)),
        ),
        ("none given", &["config"], Ok(CommandId::CONFIG)),
        (
            "a command that may be alone",
            &["command"],
            Ok(CommandId::COMMAND),
        ),
        (
            "a full name is no name",
            &["config|get", "x"],
            Err(Unknown::Command),
        ),
    ];
    for (name, args, expected) in rows {
        assert_eq!(CommandId::resolve(args), expected, "{name}");
    }
}

#[test]
fn parents_and_children_know_each_other() {
    assert_eq!(CommandId::CONFIG_GET.parent(), Some(CommandId::CONFIG));
    assert_eq!(CommandId::GET.parent(), None);
    assert_eq!(CommandId::CONFIG.subcommands().count(), 5);
    assert_eq!(CommandId::GET.subcommands().count(), 0);
    assert_eq!(CommandId::CONFIG_GET.subcommands().count(), 0);
    assert_eq!(CommandId::CONFIG_GET.own_name(), "get");
    for command in CommandId::all() {
        for child in command.subcommands() {
            assert_eq!(child.parent(), Some(command), "{child:?}");
        }
    }
}

#[test]
fn names_of_sets_are_those_of_a_server() {
    let flags: Vec<&str> = CommandId::EVAL.flags().names().collect();
    assert_eq!(
        flags,
        [
            "movablekeys",
            "no_mandatory_keys",
            "noscript",
            "skip_monitor",
            "stale"
        ]
    );
    assert_eq!(Categories::of(b"SortedSet"), Some(Categories::SORTEDSET));
    assert_eq!(Categories::of(b"all"), None);
    assert_eq!(
        format!("{:?}", CommandId::GET.flags()),
        r#"{"fast", "readonly"}"#
    );
}
