//! What replicas must be like to be read from: how far behind they may be, and what a client must find there that has written.
//!
//! Which statements go to replicas at all is for the routes to say. Start at [`MaxLag`] and [`ReadYourWrites`].

use std::time;

use portcullis_config::{ByteSize, Diagnostics, Duration, Located, Span};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{AuthConfig, AuthMinimum, Password, Role, RouteConfig, UpstreamConfig};

/// How far a replica may be behind the primary. One that is further is not used until it has caught up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MaxLag {
    /// How long ago what it has replayed may have been all that there was. Default: any time. Servers are asked four times a
    /// second, so that much less than a second excludes replicas that are up to date.
    pub time: Option<Duration>,
    /// How many bytes of the log it may lack. Default: any number. What the primary writes between two questions counts.
    pub bytes: Option<ByteSize>,
}

impl MaxLag {
    /// Whether there is any bound.
    #[must_use]
    pub const fn is_some(&self) -> bool {
        self.time.is_some() || self.bytes.is_some()
    }

    /// Whether a replica that is so far behind may be used. What is not known is within bounds: the primary has never
    /// answered, so that nothing newer can be read from it either.
    #[must_use]
    pub fn admits(&self, bytes: Option<u64>, time: Option<time::Duration>) -> bool {
        let exceeds_bytes = self
            .bytes
            .is_some_and(|most| bytes.is_some_and(|bytes| bytes > most.0));
        let exceeds_time = self
            .time
            .is_some_and(|most| time.is_some_and(|time| time > most.get()));
        !exceeds_bytes && !exceeds_time
    }
}

/// Where a client reads that has written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReadYourWrites {
    /// Where the rules say.
    #[default]
    Off,
    /// From the primary for so long.
    PrimaryFor(Duration),
    /// From a replica that has replayed what was written, else from the primary.
    Lsn,
}

/// As whom servers are asked for their roles and positions: as `upstream.user`, or else as the first of `auth.users` whose
/// password is plain. `None` if nobody can be.
pub(super) fn asks_as<'a>(
    upstream: &'a UpstreamConfig,
    auth: &'a AuthConfig,
) -> Option<(String, Option<&'a Password>)> {
    if let Some(user) = &upstream.user {
        return Some((user.clone(), upstream.password.as_ref()));
    }
    let listed = auth.users.iter().find_map(|(name, user)| {
        let plain = user
            .password
            .as_ref()
            .filter(|password| password.plain().is_some());
        plain.map(|password| (name.clone(), Some(&password.value)))
    });
    let trusted = upstream.auth_minimum == AuthMinimum::Trust;
    listed.or_else(|| trusted.then(|| ("postgres".to_owned(), None)))
}

/// Whether what is wanted of replicas can be had.
pub(super) fn check(
    routes: &[(Span, RouteConfig)],
    read_your_writes: &Located<ReadYourWrites>,
    max_lag: Option<&Located<MaxLag>>,
    can_ask: bool,
    diagnostics: &mut Diagnostics,
) {
    let reads_elsewhere = |(_, route): &(_, RouteConfig)| {
        route.role != Role::Primary || route.condition.asks_statement()
    };
    if read_your_writes.value != ReadYourWrites::Off && !routes.iter().any(reads_elsewhere) {
        diagnostics
            .error(
                read_your_writes.span,
                "everything goes to the primary anyway",
            )
            .help("`read_your_writes` goes with routes that send reads to replicas");
    }
    let from_replicas =
        |(_, route): &(_, RouteConfig)| matches!(route.role, Role::Replica | Role::PreferReplica);
    if let Some(max_lag) = max_lag
        && !routes.iter().any(from_replicas)
    {
        diagnostics
            .error(max_lag.span, "no route reads from replicas")
            .help("`max_lag` goes with `role: replica` and `role: prefer_replica`");
    }
    let by_lsn = (read_your_writes.value == ReadYourWrites::Lsn).then_some(read_your_writes.span);
    for span in [by_lsn, max_lag.map(|max_lag| max_lag.span)] {
        if let Some(span) = span
            && !can_ask
        {
            diagnostics
                .error(span, "there is nobody as whom servers could be asked how far they are")
                .expected("`upstream: { user, password }`, or a user in `auth.users` with a plain password");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_within_its_bounds_is_admitted() {
        let seconds = time::Duration::from_secs;
        let both = MaxLag {
            time: Some(Duration::from_secs(5)),
            bytes: Some(ByteSize(100)),
        };
        let bytes = MaxLag { time: None, ..both };
        let rows = [
            ("no bounds", MaxLag::default(), Some(1 << 40), Some(9), true),
            ("at both", both, Some(100), Some(5), true),
            ("too many bytes", both, Some(101), Some(0), false),
            ("too long ago", both, Some(0), Some(6), false),
            ("bytes only", bytes, Some(100), Some(99), true),
            ("nothing known", both, None, None, true),
        ];
        for (name, bounds, bytes, time, admitted) in rows {
            assert_eq!(bounds.admits(bytes, time.map(seconds)), admitted, "{name}");
        }
    }
}
