//! Which rule takes a request: patterns over bytes, conditions, and tables of ordered rules.
//!
//! It deliberately knows no protocol and does no I/O: HTTP, Postgres and Redis each bring their own
//! request type and build their conditions from the patterns here. It does not rewrite anything either.
//!
//! Start at [`RouteTable`] (ordered rules, the first match wins) and [`HostRouteTable`] (the same, with
//! an index over host names so that thousands of hosts cost one hash lookup); then [`PathPattern`] for
//! what people write. [`unreachable_rules`] finds rules that can never be reached.
//!
//! **Order.** Rules are tried as they are written. Gateway API ranks matches by specificity instead
//! (exact before prefix, longer before shorter, more headers before fewer); a front end for it sorts the
//! rules by that rank before it builds a table.

mod check;
mod condition;
mod host_index;
mod pattern;
mod table;
mod weighted;

pub use check::{NamedRule, RuleWords, check_rules};
pub use condition::{AllOf, AnyOf, Covers, Match, Unreachable, unreachable_rules};
pub use host_index::{Candidates, HostIndex};
pub use pattern::{
    HostPattern, MAX_GLOB_LENGTH, MAX_HOST_LENGTH, MAX_PATTERN_LENGTH, MAX_REGEX_SIZE, MethodSet,
    NamedValue, PathPattern, PatternError, ValuePattern,
};
pub use table::{HostRouteTable, RouteIndex, RouteTable};
pub use weighted::{WeightError, Weighted};
