//! Who the primary is and who follows it, as one sentinel says.
//!
//! Start at [`Answer::read`].

use std::collections::BTreeSet;

use crate::cluster::NodeAddress;
use crate::message::Value;

/// Replicas that are taken from one answer; what is said beyond them is not looked at.
pub const MOST_REPLICAS: usize = 256;

/// Sentinels that are taken from one answer; what is said beyond them is not looked at.
pub const MOST_SENTINELS: usize = 16;

/// Why what a sentinel said is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum AnswerError {
    /// It answered with an error.
    #[error("the sentinel answered with an error")]
    Refused,
    /// It knows no primary by this name.
    #[error("the sentinel knows no primary by this name")]
    Unknown,
    /// It is not what a sentinel says.
    #[error("no answer of a sentinel")]
    Shape,
}

impl AnswerError {
    /// The `result` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unknown => "unknown_master",
            Self::Shape => "shape",
        }
    }
}

/// What one sentinel knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The primary.
    pub primary: NodeAddress,
    /// The replicas that it takes to be well, in the order of their addresses. At most [`MOST_REPLICAS`].
    pub replicas: Vec<NodeAddress>,
    /// Grows with every failover: of two sentinels that differ, the one with the higher number knows more.
    pub epoch: u64,
}

impl Answer {
    /// Reads the answers to `SENTINEL GET-MASTER-ADDR-BY-NAME`, `SENTINEL MASTER` and `SENTINEL REPLICAS`.
    ///
    /// While a failover is under way the first names the new primary before the second does. Replicas that cannot be read
    /// are left out, and so is one that is the primary.
    ///
    /// # Errors
    /// It names no primary.
    pub fn read(address: &Value, details: &Value, replicas: &Value) -> Result<Self, AnswerError> {
        if [address, details]
            .iter()
            .any(|answer| answer.error().is_some())
        {
            // As of a name that is not monitored, in words that differ by version.
            let is_unknown = |answer: &Value| {
                let error = answer.error().map(|error| &**error);
                error.is_some_and(|error| error.starts_with(b"ERR No such master"))
            };
            let is_unknown = is_unknown(address) || is_unknown(details);
            return Err(if is_unknown {
                AnswerError::Unknown
            } else {
                AnswerError::Refused
            });
        }
        if matches!(address.bare(), Value::Null(_)) {
            return Err(AnswerError::Unknown);
        }
        let Some([host, port]) = address.elements() else {
            return Err(AnswerError::Shape);
        };
        let primary = node(host, port).ok_or(AnswerError::Shape)?;
        let epoch = details.field(b"config-epoch").and_then(Value::integer);
        let epoch = epoch.and_then(|epoch| u64::try_from(epoch).ok());
        let found = replicas.elements().unwrap_or_default().iter();
        let found = found
            .filter_map(replica)
            .filter(|replica| *replica != primary);
        let found: BTreeSet<NodeAddress> = found.take(MOST_REPLICAS).collect();
        Ok(Self {
            replicas: found.into_iter().collect(),
            primary,
            epoch: epoch.ok_or(AnswerError::Shape)?,
        })
    }
}

/// Reads the answer to `SENTINEL SENTINELS`: where the others are, in the order of their addresses, at most [`MOST_SENTINELS`]. What
/// one takes to be away may be there for others.
#[must_use]
pub fn others(sentinels: &Value) -> Vec<NodeAddress> {
    let found = sentinels.elements().unwrap_or_default().iter();
    let found = found.filter_map(|fields| node(fields.field(b"ip")?, fields.field(b"port")?));
    let found: BTreeSet<NodeAddress> = found.take(MOST_SENTINELS).collect();
    found.into_iter().collect()
}

fn node(host: &Value, port: &Value) -> Option<NodeAddress> {
    NodeAddress::new(host.text()?, port.integer()?)
}

/// One of `SENTINEL REPLICAS`, if it can be read from: it is there and has what its primary has.
fn replica(fields: &Value) -> Option<NodeAddress> {
    let text = |name: &[u8]| fields.field(name)?.text().map(|text| &**text);
    let flags = text(b"flags")?;
    let mut flags = flags.split(|byte| *byte == b',');
    let is_away =
        |flag: &[u8]| [b"s_down".as_slice(), b"o_down", b"disconnected", b"master"].contains(&flag);
    // Those who do not want to be found say so from 6.2 on.
    let is_hidden = text(b"replica-announced") == Some(b"0");
    let is_linked = text(b"master-link-status").is_none_or(|status| status == b"ok");
    if flags.any(is_away) || is_hidden || !is_linked {
        return None;
    }
    node(fields.field(b"ip")?, fields.field(b"port")?)
}

#[cfg(test)]
mod tests;
