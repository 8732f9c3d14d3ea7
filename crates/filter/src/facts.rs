//! Facts: the words that limits and rules are written in, such as `client.ip` or `http.host`.
//!
//! A fact is looked up by name once, when the configuration is built; at run time it is a function. Not a query
//! language: a fact writes one value into a limit's key and nothing else. Start at [`Facts`], which each protocol
//! implements for its messages, and [`resolve`].

use std::net::IpAddr;

use portcullis_limit::{Key, KeyBuilder, Seed};

use crate::{AlternativeName, ClientCertificate, Context, Messages};

/// Writes one fact of a request into a key. A fact that the request does not have is written as absent, which is
/// a value of its own: leaving a header out does not escape a limit.
pub type Fact<M> = Box<dyn Fn(&<M as Messages>::Request, &Context, &mut KeyBuilder<'_>)>;

/// The facts that a protocol adds to the common ones.
pub trait Facts: Messages + Sized {
    /// Every name, for messages and schemas. A name that ends in `.` takes the rest as a parameter
    /// (`http.header.` in `http.header.x-tenant`).
    const FACTS: &'static [&'static str];

    /// The fact with this name, if the protocol has it.
    fn fact(name: &str) -> Option<Fact<Self>>;
}

/// The facts that every protocol has.
pub const COMMON: &[&str] = &[
    "client.ip",
    "client.network",
    "listener",
    "route",
    "tls.sni",
    "tls.client.san",
    "tls.client.subject",
    "tls.client.fingerprint",
];

/// A name that is no fact of the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown fact '{name}'")]
pub struct FactError {
    /// The name as written.
    pub name: String,
    /// The names that there are.
    pub known: Vec<&'static str>,
}

/// The fact with this name, the protocol's own or a common one.
///
/// # Errors
/// There is none: the error lists those that there are.
pub fn resolve<M: Facts>(name: &str) -> Result<Fact<M>, FactError> {
    M::fact(name)
        .or_else(|| common::<M>(name))
        .ok_or_else(|| FactError {
            name: name.to_owned(),
            known: COMMON.iter().chain(M::FACTS).copied().collect(),
        })
}

fn common<M: Messages>(name: &str) -> Option<Fact<M>> {
    Some(match name {
        "client.ip" => Box::new(|_, cx, key| write_ip(cx.client_ip, key)),
        "client.network" => Box::new(|_, cx, key| write_ip(network_of(cx.client_ip), key)),
        "listener" => Box::new(|_, cx, key| key.write(cx.connection.listener.as_bytes())),
        "route" => Box::new(|_, cx, key| match &cx.route {
            Some(route) => key.write(route.as_bytes()),
            None => key.absent(),
        }),
        "tls.sni" => Box::new(|_, cx, key| {
            let tls = cx.connection.tls.as_ref();
            write_text(tls.and_then(|tls| tls.server_name.as_deref()), key);
        }),
        // The one that stands for the client: see `ClientCertificate::name`.
        "tls.client.san" => Box::new(|_, cx, key| {
            let name = cx.connection.client_certificate();
            let name = name.and_then(ClientCertificate::name);
            write_text(name.map(AlternativeName::as_str), key);
        }),
        "tls.client.subject" => Box::new(|_, cx, key| {
            let client = cx.connection.client_certificate();
            write_text(client.map(|client| &*client.subject), key);
        }),
        "tls.client.fingerprint" => {
            Box::new(|_, cx, key| match cx.connection.client_certificate() {
                Some(client) => key.write(&client.fingerprint.0),
                None => key.absent(),
            })
        }
        _ => return None,
    })
}

fn write_text(text: Option<&str>, key: &mut KeyBuilder<'_>) {
    match text {
        Some(text) => key.write(text.as_bytes()),
        None => key.absent(),
    }
}

fn write_ip(ip: IpAddr, key: &mut KeyBuilder<'_>) {
    match ip {
        IpAddr::V4(ip) => key.write(&ip.octets()),
        IpAddr::V6(ip) => key.write(&ip.octets()),
    }
}

/// The /24 of an IPv4 address, the /64 of an IPv6 address: what one customer line usually has.
fn network_of(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => IpAddr::V4((u32::from(ip) & 0xffff_ff00).into()),
        IpAddr::V6(ip) => IpAddr::V6((u128::from(ip) & (u128::MAX << 64)).into()),
    }
}

/// The facts of one limit, ready to make keys.
pub struct Descriptor<M: Messages> {
    facts: Box<[Fact<M>]>,
    seed: Seed,
}

impl<M: Facts> Descriptor<M> {
    /// A descriptor of the named facts. `seed` must be the same in all workers.
    ///
    /// # Errors
    /// The first name that is no fact.
    pub fn new<'a>(
        names: impl IntoIterator<Item = &'a str>,
        seed: Seed,
    ) -> Result<Self, FactError> {
        let facts = names
            .into_iter()
            .map(resolve::<M>)
            .collect::<Result<_, _>>()?;
        Ok(Self { facts, seed })
    }

    /// Whether there are no facts: one key for all requests.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.facts.is_empty()
    }

    /// The key of a request; `None` if there are no facts.
    #[must_use]
    pub fn key(&self, request: &M::Request, cx: &Context) -> Option<Key> {
        if self.facts.is_empty() {
            return None;
        }
        let mut key = KeyBuilder::new(&self.seed);
        for fact in &self.facts {
            fact(request, cx, &mut key);
        }
        Some(key.finish())
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::sync::Arc;
    use std::time::Instant;

    use super::*;
    use crate::{Connection, Fingerprint, TlsInfo};

    struct Nothing;

    impl Messages for Nothing {
        type Request = ();
        type Response = ();
        type Data = ();
        type Record = ();
    }

    impl Facts for Nothing {
        const FACTS: &'static [&'static str] = &[];

        fn fact(_: &str) -> Option<Fact<Self>> {
            None
        }
    }

    #[allow(clippy::disallowed_methods)] // a test needs some instant, whichever
    fn context(tls: Option<TlsInfo>) -> Context {
        let connection = Connection {
            listener: "test".into(),
            peer: None,
            local: None,
            client: None,
            secure: tls.is_some(),
            tls: tls.map(Arc::new),
            accepted_at: Instant::now(),
            id: 1,
        };
        Context::new(Rc::new(connection), Instant::now())
    }

    fn tls(server_name: Option<&str>, client: Option<ClientCertificate>) -> TlsInfo {
        TlsInfo {
            server_name: server_name.map(Into::into),
            alpn: None,
            version: "TLSv1.3",
            cipher: "TLS_AES_128_GCM_SHA256",
            resumed: false,
            client,
            local_certificate: None,
        }
    }

    /// Which of these connections a fact tells apart from which.
    #[test]
    fn tls_tells_clients_apart() {
        let certificate = |subject: &str, name: &str, print: u8| ClientCertificate {
            subject: subject.into(),
            names: vec![AlternativeName::Dns(name.into())],
            fingerprint: Fingerprint([print; 32]),
            ..ClientCertificate::default()
        };
        let connections = [
            None,
            Some(tls(None, None)),
            Some(tls(Some("a.test"), None)),
            Some(tls(Some("a.test"), Some(certificate("CN=a", "a.corp", 1)))),
            Some(tls(Some("b.test"), Some(certificate("CN=a", "b.corp", 2)))),
            Some(tls(Some("b.test"), Some(certificate("CN=b", "b.corp", 3)))),
        ]
        .map(context);
        for (name, expected) in [
            ("tls.sni", [0, 0, 2, 2, 4, 4]),
            ("tls.client.san", [0, 0, 0, 3, 4, 4]),
            ("tls.client.subject", [0, 0, 0, 3, 3, 5]),
            ("tls.client.fingerprint", [0, 0, 0, 3, 4, 5]),
        ] {
            let descriptor = Descriptor::<Nothing>::new([name], Seed::fixed(7)).unwrap();
            let keys = connections.each_ref().map(|cx| descriptor.key(&(), cx));
            let first = keys.map(|key| keys.iter().position(|other| *other == key).unwrap());
            assert_eq!(first, expected, "{name}");
        }
    }
}
