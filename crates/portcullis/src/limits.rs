//! How many connections the process accepts when the configuration does not say.
//!
//! Limits of listeners and clusters are in the configuration; this one follows from what the system allows. Start
//! at [`default_connections`].

/// Descriptors that connections never get: listeners, runtimes, logs, the admin address, DNS.
const RESERVED_DESCRIPTORS: u64 = 256;

/// What one proxied connection costs: a socket on each side.
const DESCRIPTORS_PER_CONNECTION: u64 = 2;

/// A machine without a limit still has one: more connections than this want a thought-out configuration.
const MOST_CONNECTIONS: u64 = 1_000_000;

/// Fewer would only make trouble on machines that are hardly usable anyway.
const FEWEST_CONNECTIONS: u64 = 16;

/// How many connections the process accepts by default when it may open `descriptors` (`None` if there is no
/// bound): two descriptors each, after a reserve for everything else. So the limit trips, with its counter, before
/// the system runs out.
#[must_use]
pub(crate) fn default_connections(descriptors: Option<u64>) -> u64 {
    let free = descriptors
        .unwrap_or(u64::MAX)
        .saturating_sub(RESERVED_DESCRIPTORS);
    (free / DESCRIPTORS_PER_CONNECTION).clamp(FEWEST_CONNECTIONS, MOST_CONNECTIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_follow_from_descriptors() {
        for (descriptors, connections) in [
            (Some(0), 16),
            (Some(256), 16),
            (Some(1024), 384),
            (Some(65_536), 32_640),
            (Some(u64::MAX), 1_000_000),
            (None, 1_000_000),
        ] {
            assert_eq!(
                default_connections(descriptors),
                connections,
                "{descriptors:?}"
            );
        }
    }
}
