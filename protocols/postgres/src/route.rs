//! Which rule takes a statement: by who the client is and by what the statement does.
//!
//! Rules are ordered and the first that fits decides. What the client is does not change, so that a session asks
//! [`Routes::of_client`] once and tries only what is left for each statement. Nothing here picks a server. Start at
//! [`Routes`].

use std::net::IpAddr;

use portcullis_config::Network;
use portcullis_route::{AnyOf, Covers, HostPattern, Match, ValuePattern};
use smallvec::SmallVec;

use crate::config::{RouteConfig, StatementKind, TablePattern};
use crate::sql::{Analysis, StatementInfo};

/// Who a client is, as far as rules ask.
#[derive(Debug, Clone, Copy)]
pub struct Client<'a> {
    /// The database that it asked for.
    pub database: &'a str,
    /// Its user.
    pub user: &'a str,
    /// Its `application_name` when it started.
    pub application: &'a str,
    /// The server name that it asked for in TLS.
    pub server_name: Option<&'a str>,
    /// Its address.
    pub address: IpAddr,
}

/// A text and what is known of it. An incomplete analysis is of a text that cannot be read.
#[derive(Debug, Clone, Copy)]
pub struct Text<'a> {
    /// The text that was analysed.
    pub sql: &'a [u8],
    /// What it does.
    pub analysis: &'a Analysis,
}

/// What a client and its statement must be for a rule to take them. `None` asks nothing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Condition {
    /// Databases.
    pub databases: Option<AnyOf<ValuePattern>>,
    /// Users.
    pub users: Option<AnyOf<ValuePattern>>,
    /// Names of applications.
    pub applications: Option<AnyOf<ValuePattern>>,
    /// Server names in TLS.
    pub server_names: Option<AnyOf<HostPattern>>,
    /// Networks.
    pub networks: Option<AnyOf<InNetwork>>,
    /// Kinds, of which each statement of the text must be one.
    pub statements: Option<AnyOf<StatementKind>>,
    /// Tables, of which the text must name one, and no other.
    pub tables: Option<AnyOf<TablePattern>>,
}

/// A network, as a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InNetwork(pub Network);

impl Covers for InNetwork {
    fn covers(&self, other: &Self) -> bool {
        self.0.get().contains(&other.0.get())
    }
}

impl Condition {
    /// Whether the rule can only be judged by a statement.
    #[must_use]
    pub const fn asks_statement(&self) -> bool {
        self.statements.is_some() || self.tables.is_some()
    }

    /// Whether the client is one that the rule is about.
    #[must_use]
    pub fn takes_client(&self, client: &Client<'_>) -> bool {
        let value = |patterns: &Option<AnyOf<ValuePattern>>, text: &str| {
            let is = |pattern: &ValuePattern| pattern.matches(Some(text.as_bytes()));
            patterns.as_ref().is_none_or(|any| any.0.iter().any(is))
        };
        let name = |any: &AnyOf<HostPattern>| {
            let asked = client.server_name.map(str::as_bytes);
            asked.is_some_and(|asked| any.0.iter().any(|pattern| pattern.matches(asked)))
        };
        let network = |any: &AnyOf<InNetwork>| {
            any.0
                .iter()
                .any(|network| network.0.contains(client.address))
        };
        value(&self.databases, client.database)
            && value(&self.users, client.user)
            && value(&self.applications, client.application)
            && self.server_names.as_ref().is_none_or(name)
            && self.networks.as_ref().is_none_or(network)
    }

    /// Whether the text is one that the rule is about. Without a text (a call by number, a start of replication) only rules
    /// that ask for none take it.
    #[must_use]
    pub fn takes_text(&self, text: Option<&Text<'_>>) -> bool {
        match text {
            None => !self.asks_statement(),
            Some(text) => {
                self.statements
                    .as_ref()
                    .is_none_or(|kinds| takes_kind(kinds, text))
                    && self
                        .tables
                        .as_ref()
                        .is_none_or(|tables| takes_tables(tables, text))
            }
        }
    }
}

/// Each statement must be of one of the kinds. A text that was not read to its end may hold anything behind: it is only
/// what takes writes. An empty text is a read.
fn takes_kind(kinds: &AnyOf<StatementKind>, text: &Text<'_>) -> bool {
    let unread = StatementInfo::default();
    let is_kind = |statement: &StatementInfo| kinds.0.iter().any(|kind| kind.0.matches(statement));
    let end = (!text.analysis.complete).then_some(&unread);
    if text.analysis.statements.is_empty() && end.is_none() {
        return kinds.0.iter().any(StatementKind::is_read);
    }
    text.analysis.statements.iter().chain(end).all(is_kind)
}

fn takes_tables(tables: &AnyOf<TablePattern>, text: &Text<'_>) -> bool {
    if !text.analysis.complete {
        return false;
    }
    let mut named = false;
    for statement in &text.analysis.statements {
        if statement.tables_truncated {
            return false;
        }
        for table in &statement.tables {
            named = true;
            let name = table.of(text.sql);
            if !tables.0.iter().any(|pattern| pattern.is(name)) {
                return false;
            }
        }
    }
    named
}

impl Covers for Condition {
    fn covers(&self, other: &Self) -> bool {
        self.databases.covers(&other.databases)
            && self.users.covers(&other.users)
            && self.applications.covers(&other.applications)
            && self.server_names.covers(&other.server_names)
            && self.networks.covers(&other.networks)
            && self.statements.covers(&other.statements)
            && self.tables.covers(&other.tables)
    }
}

/// The rules that are left for one client, by their place.
pub type ClientRoutes = SmallVec<[u16; 4]>;

/// The rules of a listener.
#[derive(Debug, Clone)]
pub struct Routes {
    rules: Vec<RouteConfig>,
}

impl Routes {
    /// Rules in the order they are tried.
    #[must_use]
    pub fn new(rules: &[RouteConfig]) -> Self {
        Self {
            rules: rules.to_vec(),
        }
    }

    /// The rules that a client's statements can be taken by, up to the first that takes all of them. None: the client is
    /// to be refused.
    #[must_use]
    pub fn of_client(&self, client: &Client<'_>) -> ClientRoutes {
        let mut found = ClientRoutes::new();
        for (place, rule) in (0..=u16::MAX).zip(&self.rules) {
            if rule.condition.takes_client(client) {
                found.push(place);
                if !rule.condition.asks_statement() {
                    break;
                }
            }
        }
        found
    }

    /// The rule that takes a text; `text` may be `None` where [`Routes::asks_statement`] says no.
    #[must_use]
    pub fn find(
        &self,
        of_client: &ClientRoutes,
        text: Option<&Text<'_>>,
    ) -> Option<(u16, &RouteConfig)> {
        of_client.iter().find_map(|&place| {
            let rule = self.rules.get(usize::from(place))?;
            rule.condition.takes_text(text).then_some((place, rule))
        })
    }

    /// Whether a client's rules depend on its statements.
    #[must_use]
    pub fn asks_statement(&self, of_client: &ClientRoutes) -> bool {
        of_client
            .first()
            .and_then(|&place| self.rules.get(usize::from(place)))
            .is_some_and(|rule| rule.condition.asks_statement())
    }

    /// The rule at a place.
    #[must_use]
    pub fn rule(&self, place: u16) -> Option<&RouteConfig> {
        self.rules.get(usize::from(place))
    }

    /// All of them.
    #[must_use]
    pub fn rules(&self) -> &[RouteConfig] {
        &self.rules
    }
}

#[cfg(test)]
mod tests;
