//! Networks: `10.0.0.0/8`, or a single address.
//!
//! Whether an address is trusted or denied is for whoever asks. Start with [`Network::contains`].

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use super::text::{TextValue, ValueError, quote, text_value};

/// A network in CIDR form. A single address is the network of only that address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Network(IpNet);

impl Network {
    /// Whether an address belongs to it. An IPv4 address that came in over a dual-stack socket (`::ffff:10.0.0.1`) counts as
    /// the IPv4 address it is.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }

    /// The network as `ipnet` has it, with host bits cleared.
    pub const fn get(self) -> IpNet {
        self.0
    }
}

impl From<IpNet> for Network {
    fn from(network: IpNet) -> Self {
        Self(network.trunc())
    }
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        Self(IpNet::from(address.to_canonical()))
    }
}

impl TextValue for Network {
    const EXPECTED: &'static str = "a network such as 10.0.0.0/8, or an address";
}

impl FromStr for Network {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::from(address));
        }
        let network = text
            .parse::<IpNet>()
            .map_err(|_| Self::refuse(format!("{} is not a network", quote(text))))?;
        if network.addr() != network.network() {
            // Somebody who writes 10.0.0.1/8 means either one address or all: better ask.
            let reason = format!(
                "{text} has bits set past its prefix: write {} or {}",
                network.trunc(),
                network.addr()
            );
            return Err(Self::refuse(reason));
        }
        Ok(Self(network))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() {
            return self.0.addr().fmt(formatter);
        }
        self.0.fmt(formatter)
    }
}

text_value!(Network, number: false,
    pattern: r"^[0-9A-Fa-f.:]+(/[0-9]{1,3})?$",
    examples: ["10.0.0.0/8", "fd00::/8", "127.0.0.1"],
    about: "A network in CIDR form, or a single address.");
