use super::super::{NO_AUTHENTICATION, RulesError, Users, WRONG_PASSWORD};
use super::*;
use crate::command::Categories;
use crate::command::foreign::ForeignKeys;

// SHA-256 of `secret`, as `printf secret | sha256sum` prints it.
const SECRET: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

#[test]
fn users_come_in_with_their_passwords() {
    let hashed = format!("on #{SECRET}");
    let taken_back = format!("on >secret >other !{SECRET}");
    let rows: [(&str, &str, &str, bool); 13] = [
        ("right", "on >secret", "secret", true),
        ("wrong", "on >secret", "Secret", false),
        ("empty", "on >secret", "", false),
        ("second of two", "on >one >two", "two", true),
        ("off", "off >secret", "secret", false),
        ("off by default", ">secret", "secret", false),
        ("none set", "on", "", false),
        ("any", "on nopass", "whatever", true),
        ("any, but off", "nopass", "whatever", false),
        (
            "a password ends nopass",
            "on nopass >secret",
            "other",
            false,
        ),
        ("hashed", &hashed, "secret", true),
        ("taken back", &taken_back, "secret", false),
        (
            "all taken back",
            "on >secret nopass resetpass",
            "secret",
            false,
        ),
    ];
    for (name, rules, password, expected) in rows {
        let user = User::parse(rules).unwrap();
        assert_eq!(user.accepts(password.as_bytes()), expected, "{name}");
    }
}

#[test]
fn passwords_are_never_shown() {
    let user = User::parse("on >secret").unwrap();
    let shown = format!("{user:?}");
    assert!(
        !shown.contains("secret") && !shown.contains("43, 184, 13"),
        "{shown}"
    );
    let RulesError { error, at } = User::parse("on >secret #secret +get").unwrap_err();
    assert_eq!(at, 11..18);
    assert!(!format!("{error} {error:?}").contains("secret"));
}

#[test]
fn errors_say_where_they_are() {
    let rows = [
        ("on +foo", 3..7),
        ("on  +get   ~a +foo", 14..18),
        ("on (+get ~a", 3..8), // The first word of what is not closed.
        ("on (+get +foo) off", 9..13),
        ("on (+get +foo )", 9..13),
        ("on ( +get ~a ) x", 15..16),
    ];
    for (rules, at) in rows {
        assert_eq!(User::parse(rules).unwrap_err().at, at, "{rules}");
    }
}

#[test]
fn users_are_found_by_name() {
    let mut users = Users::default();
    assert!(users.at_first().is_none());
    users.insert(b"ann", User::parse("on >secret").unwrap());
    users.insert(b"bob", User::parse("off >secret").unwrap());
    assert!(users.authenticate(b"ann", b"secret").is_some());
    assert!(users.authenticate(b"ann", b"wrong").is_none());
    assert!(users.authenticate(b"bob", b"secret").is_none());
    assert!(users.authenticate(b"eve", b"secret").is_none());
    users.insert(Users::DEFAULT, User::parse("on >secret").unwrap());
    assert!(users.at_first().is_none());
    assert!(users.insert(Users::DEFAULT, User::unrestricted()).is_some());
    assert!(users.at_first().is_some());
    assert!(WRONG_PASSWORD.starts_with("WRONGPASS ") && NO_AUTHENTICATION.starts_with("NOAUTH "));
}

#[test]
fn commands_that_nobody_knows_are_for_those_who_may_all() {
    type Row = (
        &'static str,
        &'static str,
        &'static [&'static str],
        &'static [u32],
        Result<(), Denied>,
    );
    let rows: [Row; 11] = [
        ("all", "+@all ~*", &["json.get", "a"], &[1], Ok(())),
        ("its keys", "+@all ~a", &["json.get", "a"], &[1], Ok(())),
        (
            "other keys",
            "+@all ~a",
            &["json.get", "b"],
            &[1],
            Err(Denied::Key(1)),
        ),
        (
            "read only",
            "+@all %R~a",
            &["json.get", "a"],
            &[1],
            Err(Denied::Key(1)),
        ),
        (
            "less one is still all",
            "+@all -get ~*",
            &["json.get", "a"],
            &[1],
            Ok(()),
        ),
        (
            "its category",
            "+@read +@write ~*",
            &["json.get"],
            &[],
            Ok(()),
        ),
        (
            "another category",
            "+@read ~*",
            &["json.get"],
            &[],
            Err(Denied::UnknownCommand),
        ),
        (
            "all but a category of it",
            "+@all -@slow ~*",
            &["json.get"],
            &[],
            Err(Denied::UnknownCommand),
        ),
        (
            "the last decides",
            "+@all -@slow +json.get ~*",
            &["json.get"],
            &[],
            Ok(()),
        ),
        (
            "all but it",
            "+@all -JSON.GET ~*",
            &["json.get"],
            &[],
            Err(Denied::UnknownCommand),
        ),
        (
            "all again",
            "-json.get +@all ~*",
            &["json.get"],
            &[],
            Ok(()),
        ),
    ];
    let mut foreign = Foreign {
        name: "json.get".into(),
        arity: -2,
        flags: Flags::WRITE,
        categories: Categories::WRITE.and(Categories::SLOW),
        keys: ForeignKeys::None,
        is_configured: false,
    };
    for (name, rules, args, keys, expected) in rows {
        let user = User::parse(rules).unwrap();
        assert_eq!(user.may_foreign(&foreign, args, keys), expected, "{name}");
    }
    foreign.flags = Flags::READONLY;
    let reader = User::parse("+@all %R~a").unwrap();
    let call = ["json.get", "a"];
    assert_eq!(reader.may_foreign(&foreign, &call, &[1]), Ok(()));
    let mut said = Vec::new();
    Denied::UnknownCommand.write(&["js\r\non"], &mut said);
    assert_eq!(
        said,
        b"NOPERM this user has no permissions to run the 'js  on' command"
    );
}

#[test]
fn keys_that_cannot_be_told_are_denied() {
    let user = User::parse("+@all ~a*").unwrap();
    let rows: [&[&str]; 4] = [
        &["eval", "s", "x", "b"],
        &["xread", "count", "1", "x"],
        &["lmpop", "0", "b", "left"],
        &[
            "xreadgroup",
            "count",
            "1",
            "group",
            "g",
            "streams",
            "streams",
            "b",
            ">",
        ],
    ];
    for args in rows {
        let command = CommandId::resolve(args).unwrap();
        assert!(
            matches!(user.may(command, args), Err(Denied::Key(_))),
            "{args:?}"
        );
    }
}

#[test]
fn refusals_have_labels() {
    let rows = [
        (Denied::Command(CommandId::GET), "acl_command"),
        (Denied::UnknownCommand, "acl_command"),
        (Denied::Key(1), "acl_key"),
        (Denied::SortBy, "acl_key"),
        (Denied::SortGet, "acl_key"),
        (Denied::Channel(1), "acl_channel"),
    ];
    for (denied, label) in rows {
        assert_eq!(denied.label(), label);
    }
}
