//! A reload changes what connections that are open may do: users, allowed commands, filters.

use harness::redis::RedisClient;

use super::{Site, bulk, document, is_error, ok};

/// The listener's keys, with these rules of the user `app`, and whatever else.
fn keys(app: &str, more: &str) -> String {
    format!("auth: {{ users: {{ default: {{ rules: \"nopass +@all ~* &*\" }}{app} }} }}\n{more}")
}

fn rules(rules: &str) -> String {
    format!(", app: {{ password: x, rules: \"{rules}\" }}")
}

impl Site {
    #[track_caller]
    fn reload(&self, keys: &str) {
        let endpoints = [self.servers[0].address()];
        let reply = self.gateway.reload(&document(keys, "", &endpoints));
        assert_eq!(reply.status, 200, "{}", reply.text());
    }

    #[track_caller]
    fn app(&self) -> RedisClient {
        let mut client = self.client();
        assert_eq!(client.call(&["AUTH", "app", "x"]), ok());
        assert_eq!(client.call(&["SET", "a", "1"]), ok());
        client
    }
}

const REFUSED: &str = "ERR command is not allowed by the gateway";

#[test]
fn open_connections_obey_the_new_rules() {
    let all = rules("+@all ~* &*");
    let Some(site) = Site::start(&keys(&all, "")) else {
        return;
    };
    let (mut app, mut other) = (site.app(), site.client());
    assert_eq!(other.call(&["SET", "b", "1"]), ok());
    site.reload(&keys(&rules("+@all -set ~* &*"), ""));
    assert!(is_error(&app.call(&["SET", "a", "2"]), "NOPERM"));
    assert_eq!(app.call(&["GET", "a"]), bulk("1"));
    // And over several reloads.
    site.reload(&keys(&all, "slow_log: { threshold: 1s }"));
    assert_eq!(app.call(&["SET", "a", "3"]), ok());
    let filters = "filters:\n  - deny: { command: set }";
    site.reload(&keys(&all, filters));
    assert!(is_error(&app.call(&["SET", "a", "4"]), REFUSED));
    assert!(is_error(&other.call(&["SET", "b", "4"]), REFUSED));
    assert_eq!(other.call(&["GET", "b"]), bulk("1"));
    site.reload(&keys(&all, ""));
    assert_eq!(other.call(&["SET", "b", "5"]), ok());
    assert_eq!(app.call(&["GET", "a"]), bulk("3"));
}

#[test]
fn a_user_that_is_gone_or_off_is_disconnected() {
    let all = rules("+@all ~* &*");
    let Some(site) = Site::start(&keys(&all, "")) else {
        return;
    };
    for without in [String::new(), rules("+@all ~* &* off")] {
        let mut app = site.app();
        let (mut listener, mut other) = (site.app(), site.client());
        assert_eq!(listener.call(&["SUBSCRIBE", "news"]).array().len(), 3);
        assert_eq!(other.call(&["SET", "b", "1"]), ok());
        site.reload(&keys(&without, ""));
        app.send(&["SET", "a", "2"]);
        app.expect_closed();
        assert_eq!(other.call(&["GET", "a"]), bulk("1"));
        // What is said to who may not hear it any more is not heard.
        other.send(&["PUBLISH", "news", "secret"]);
        listener.expect_closed();
        site.rejected("rights_revoked");
        site.reload(&keys(&all, ""));
    }
    site.neighbour_is_well();
}
