//! `allow` and `deny`: by who the client is and by what its statements do.
//!
//! A rule sees names and kinds, not what functions, views and triggers do inside: the server's privileges are the wall, this
//! is the gate before it. Everything that a rule names must hold; of a list, one. Start at [`DenyConfig`].

mod clients;
#[cfg(test)]
mod tests;

use portcullis_config::{BuildError, Diagnostics, Network, Node, OneOrMany};
use portcullis_filter::filters::check_lists;
use portcullis_filter::{
    Context, Filter, FilterContext, FilterKind, Interest, Rejection, RejectionKind, SanPattern,
    Stop, Verdict,
};
use portcullis_route::ValuePattern;
use portcullis_stats::Counter;
use schemars::JsonSchema;
use serde::Deserialize;

pub use self::clients::{ClientRules, WhoConfig};
use crate::config::{OnUnparsable, StatementKind, TablePattern};
use crate::reject::reason;
use crate::request::{PostgresMessages, StatementRequest};
use crate::sql::{StatementInfo, Verb};

/// Settings of `deny`: what is refused. A text is refused whole for one statement in it.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(from = "DenyKeys")]
#[schemars(with = "DenyKeys")]
pub struct DenyConfig {
    /// Whose statements are refused.
    pub who: WhoConfig,
    /// What is refused.
    pub what: DenyWhat,
    /// What becomes of a text that cannot be understood.
    pub on_unparsable: OnUnparsable,
    /// Whether it is only counted.
    pub shadow: bool,
}

/// What `deny` refuses.
#[derive(Debug, Clone, PartialEq)]
pub struct DenyWhat {
    /// Kinds of statements; empty for any.
    pub statement: Vec<StatementKind>,
    /// Tables that a statement can name; empty for any, or none.
    pub tables: Vec<TablePattern>,
    /// Only UPDATE and DELETE without WHERE.
    pub without_where: bool,
    /// Only in texts of several statements.
    pub multi_statement: bool,
}

/// Settings of `deny`: what is refused. A text is refused whole for one statement in it. Everything that is named must hold;
/// of a list, one.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct DenyKeys {
    /// Users, such as `[report, "tmp_*"]`. Default: all.
    users: OneOrMany<ValuePattern>,
    /// Databases as clients name them. Default: all.
    databases: OneOrMany<ValuePattern>,
    /// `application_name`s. Anybody can choose one. Default: all.
    applications: OneOrMany<ValuePattern>,
    /// Networks, such as `[10.0.0.0/8, ::1]`. Default: all.
    client: OneOrMany<Network>,
    /// Names in the certificate that the client has shown to a listener with `tls` and `client_certificates`. Default: all,
    /// shown or not.
    san: OneOrMany<SanPattern>,
    /// Kinds of statements: a verb such as `drop`, `drop_table` or `truncate`, or `write`, `ddl`. Also inside of others: the
    /// DELETE in a WITH is a `delete`. Default: all.
    statement: OneOrMany<StatementKind>,
    /// Tables that a statement can name, such as `secret.*` or `orders`. Default: all, named or not.
    tables: OneOrMany<TablePattern>,
    /// Only UPDATE and DELETE without WHERE. Default false.
    without_where: bool,
    /// Only texts of several statements. Default false.
    multi_statement: bool,
    /// What becomes of a text that cannot be understood, where the rule must know what it does. Default `deny`: otherwise a
    /// rule is avoided by being unreadable. A DO block is such a text too, and so is a function called by its number.
    on_unparsable: OnUnparsable,
    /// Count what would be refused, and let it pass. Default false.
    shadow: bool,
}

impl From<DenyKeys> for DenyConfig {
    fn from(keys: DenyKeys) -> Self {
        Self {
            who: WhoConfig {
                users: keys.users,
                databases: keys.databases,
                applications: keys.applications,
                client: keys.client,
                san: keys.san,
            },
            what: DenyWhat {
                statement: keys.statement.0,
                tables: keys.tables.0,
                without_where: keys.without_where,
                multi_statement: keys.multi_statement,
            },
            on_unparsable: keys.on_unparsable,
            shadow: keys.shadow,
        }
    }
}

/// Settings of `allow`: what is let in; the rest is refused. A text is let in when all of its statements are.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(from = "AllowKeys")]
#[schemars(with = "AllowKeys")]
pub struct AllowConfig {
    /// Whom the rule is about; everybody else passes on.
    pub whose: WhoConfig,
    /// Who is let in, of those whom the rule is about.
    pub who: WhoConfig,
    /// Kinds of statements; empty for all.
    pub statement: Vec<StatementKind>,
    /// Tables; empty for all.
    pub tables: Vec<TablePattern>,
    /// What becomes of a text that cannot be understood.
    pub on_unparsable: OnUnparsable,
    /// Whether it is only counted.
    pub shadow: bool,
}

/// Settings of `allow`: what is let in; the rest is refused. A text is let in when all of its statements are. Everything
/// that is named must hold; of a list, one.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct AllowKeys {
    /// Whom the rule is about; everybody else passes on. Default: everybody.
    #[serde(rename = "for")]
    whose: WhoConfig,
    /// Users, such as `[report, "tmp_*"]`. Default: all.
    users: OneOrMany<ValuePattern>,
    /// Databases as clients name them. Default: all.
    databases: OneOrMany<ValuePattern>,
    /// `application_name`s. Anybody can choose one. Default: all.
    applications: OneOrMany<ValuePattern>,
    /// Networks, such as `[10.0.0.0/8, ::1]`. Default: all.
    client: OneOrMany<Network>,
    /// Names in the certificate that the client has shown. Default: all, shown or not.
    san: OneOrMany<SanPattern>,
    /// Kinds of statements, also those inside of others. Default: all. `begin`, `commit`, `rollback` and `set` must be listed
    /// where clients need them.
    statement: OneOrMany<StatementKind>,
    /// Tables. Default: all. A statement that names none is let in.
    tables: OneOrMany<TablePattern>,
    /// What becomes of a text that cannot be understood, where the rule must know what it does. Default `deny`.
    on_unparsable: OnUnparsable,
    /// Count what would be refused, and let it pass. Default false.
    shadow: bool,
}

impl From<AllowKeys> for AllowConfig {
    fn from(keys: AllowKeys) -> Self {
        Self {
            whose: keys.whose,
            who: WhoConfig {
                users: keys.users,
                databases: keys.databases,
                applications: keys.applications,
                client: keys.client,
                san: keys.san,
            },
            statement: keys.statement.0,
            tables: keys.tables.0,
            on_unparsable: keys.on_unparsable,
            shadow: keys.shadow,
        }
    }
}

impl DenyConfig {
    /// Whether the rule must know what a text does.
    const fn asks_statement(&self) -> bool {
        self.asks_inside() || self.what.multi_statement
    }

    const fn asks_inside(&self) -> bool {
        !self.what.statement.is_empty() || !self.what.tables.is_empty() || self.what.without_where
    }

    /// The reason for which a request is refused.
    fn refuses(&self, request: &StatementRequest, cx: &Context) -> Option<&'static str> {
        if !self.who.means(request, cx) {
            return None;
        }
        if !self.asks_statement() {
            return Some(reason::DENIED);
        }
        let analysis = request.analysis();
        let several = !self.what.multi_statement || analysis.statements.len() > 1;
        let is_meant = |statement: &StatementInfo| self.means(statement, request.sql());
        let is_found = !self.asks_inside() || analysis.statements.iter().any(is_meant);
        if several && is_found {
            return Some(reason::DENIED);
        }
        // What could be read holds nothing that is meant; what could not be read might.
        let hides = self.asks_inside() && several && analysis.statements.iter().any(is_opaque);
        let unread = !analysis.complete || hides;
        (unread && self.on_unparsable == OnUnparsable::Deny).then_some(reason::UNPARSABLE)
    }

    fn means(&self, statement: &StatementInfo, sql: &[u8]) -> bool {
        let kind = |kind: &StatementKind| kind.0.matches(statement);
        let table = |pattern: &TablePattern| {
            let named = |span: &crate::sql::Span| pattern.can_be(span.of(sql));
            statement.tables_truncated || statement.tables.iter().any(named)
        };
        (self.what.statement.is_empty() || self.what.statement.iter().any(kind))
            && (self.what.tables.is_empty() || self.what.tables.iter().any(table))
            && (!self.what.without_where || statement.unfiltered_write())
    }
}

impl AllowConfig {
    const fn asks_statement(&self) -> bool {
        !self.statement.is_empty() || !self.tables.is_empty()
    }

    fn refuses(&self, request: &StatementRequest, cx: &Context) -> Option<&'static str> {
        if !self.whose.means(request, cx) {
            return None;
        }
        if !self.who.means(request, cx) {
            return Some(reason::DENIED);
        }
        let analysis = request.analysis();
        let is_allowed = |statement: &StatementInfo| self.allows(statement, request.sql());
        if self.asks_statement() && !analysis.statements.iter().all(is_allowed) {
            return Some(reason::DENIED);
        }
        let unread = self.asks_statement() && !analysis.complete;
        (unread && self.on_unparsable == OnUnparsable::Deny).then_some(reason::UNPARSABLE)
    }

    fn allows(&self, statement: &StatementInfo, sql: &[u8]) -> bool {
        let table = |span: &crate::sql::Span| {
            let name = span.of(sql);
            self.tables.iter().any(|pattern| pattern.is(name))
        };
        let kinds =
            self.statement.is_empty() || StatementKind::cover_all(&self.statement, statement);
        let tables = self.tables.is_empty()
            || !statement.tables_truncated && statement.tables.iter().all(table);
        // Its code is no list of tables; whoever allows `do` by name means it.
        kinds && tables && (self.tables.is_empty() || !is_opaque(statement))
    }
}

/// A DO block may hold any statement.
fn is_opaque(statement: &StatementInfo) -> bool {
    statement.verb == Verb::Do
}

/// What is counted, and whether it is only counted.
struct Outcome {
    refused: Counter,
    shadow: bool,
}

impl Outcome {
    fn new(rule: &'static str, shadow: bool, cx: &FilterContext<'_>) -> Self {
        let rule = if shadow { "shadow" } else { rule };
        Self {
            refused: cx.stats.counter(
                "portcullis_access_denied_total",
                "Requests refused by a rule.",
                &[("filter", cx.path), ("rule", rule)],
            ),
            shadow,
        }
    }

    fn verdict(&self, reason: Option<&'static str>) -> Verdict<'_, PostgresMessages> {
        let Some(reason) = reason else {
            return Verdict::Continue;
        };
        self.refused.inc();
        if self.shadow {
            return Verdict::Continue;
        }
        Verdict::Stop(Stop::Reject(Rejection {
            reason,
            kind: RejectionKind::Denied,
        }))
    }
}

/// Refuses what is listed.
pub struct Deny(DenyConfig, Outcome);

/// Refuses what is not listed.
pub struct Allow(AllowConfig, Outcome);

/// The lists of both rules. An empty one would mean everybody.
const LISTS: [&str; 7] = [
    "users",
    "databases",
    "applications",
    "client",
    "san",
    "statement",
    "tables",
];

impl FilterKind<PostgresMessages> for Deny {
    const NAME: &'static str = "deny";
    type Config = DenyConfig;

    fn check(config: &DenyConfig, node: &Node, diagnostics: &mut Diagnostics) {
        if !config.asks_statement() && config.who.is_everybody() {
            diagnostics
                .error_at(node, "the rule refuses everything")
                .expected("`statement`, `tables`, `without_where` or `multi_statement`; or whom it is about");
        }
        check_lists(node, &LISTS, diagnostics);
    }

    fn build(
        config: &DenyConfig,
        cx: &FilterContext<'_>,
    ) -> Result<Box<dyn Filter<PostgresMessages>>, BuildError> {
        let outcome = Outcome::new("deny", config.shadow, cx);
        Ok(Box::new(Self(config.clone(), outcome)))
    }
}

impl FilterKind<PostgresMessages> for Allow {
    const NAME: &'static str = "allow";
    type Config = AllowConfig;

    fn check(config: &AllowConfig, node: &Node, diagnostics: &mut Diagnostics) {
        if !config.asks_statement() && config.who.is_everybody() {
            diagnostics
                .error_at(node, "the rule lets everything in")
                .expected("`statement`, `tables`, or who may come in");
        }
        check_lists(node, &LISTS, diagnostics);
        if let Some(whose) = node.get("for") {
            check_lists(whose, &LISTS, diagnostics);
        }
    }

    fn build(
        config: &AllowConfig,
        cx: &FilterContext<'_>,
    ) -> Result<Box<dyn Filter<PostgresMessages>>, BuildError> {
        let outcome = Outcome::new("allow", config.shadow, cx);
        Ok(Box::new(Self(config.clone(), outcome)))
    }
}

impl Filter<PostgresMessages> for Deny {
    fn name(&self) -> &'static str {
        "deny"
    }

    fn interest(&self) -> Interest {
        Interest::REQUEST
    }

    fn on_request<'a>(
        &'a self,
        request: &'a mut StatementRequest,
        cx: &'a mut Context,
    ) -> Verdict<'a, PostgresMessages> {
        self.1.verdict(self.0.refuses(request, cx))
    }
}

impl Filter<PostgresMessages> for Allow {
    fn name(&self) -> &'static str {
        "allow"
    }

    fn interest(&self) -> Interest {
        Interest::REQUEST
    }

    fn on_request<'a>(
        &'a self,
        request: &'a mut StatementRequest,
        cx: &'a mut Context,
    ) -> Verdict<'a, PostgresMessages> {
        self.1.verdict(self.0.refuses(request, cx))
    }
}
