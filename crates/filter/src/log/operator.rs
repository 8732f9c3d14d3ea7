//! Operators: the words of formats, resolved to functions when the format is compiled.
//!
//! Those about the connection are here; those about a record are each protocol's. Start at [`LogRecords`].

use std::net::SocketAddr;

use super::{TimeFormatError, ValueWriter};
use crate::{ClientCertificate, Context, Messages, TlsInfo};

/// Writes one value of a record.
pub type Operator<M> = Box<dyn Fn(&<M as Messages>::Record, &Context, ValueWriter<'_>)>;

/// A protocol whose records can be logged.
pub trait LogRecords: Messages + Sized {
    /// The names of its own operators, for messages.
    const OPERATORS: &'static [&'static str];

    /// Its formats with a name. There is one named `json`, which is the default.
    const PRESETS: &'static [Preset];

    /// Its operator with this name.
    ///
    /// # Errors
    /// There is none, or it does not take this argument.
    fn operator(name: &str, argument: Option<&str>) -> Result<Operator<Self>, OperatorError>;
}

/// A format with a name.
#[derive(Debug, Clone, Copy)]
pub enum Preset {
    /// A line of text.
    Text {
        /// The name in the configuration.
        name: &'static str,
        /// The line.
        line: &'static str,
    },
    /// A JSON object.
    Json {
        /// The name in the configuration.
        name: &'static str,
        /// The keys, each with the format of its value.
        keys: &'static [(&'static str, &'static str)],
    },
}

impl Preset {
    /// The name in the configuration.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Text { name, .. } | Self::Json { name, .. } => name,
        }
    }
}

/// Why there is no such operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OperatorError {
    /// The name is unknown.
    #[error("there is no such operator")]
    Unknown,
    /// It needs an argument, takes none, or takes another; the text says what was expected.
    #[error("expected {0}")]
    Argument(&'static str),
    /// The argument is no time format.
    #[error(transparent)]
    Time(#[from] TimeFormatError),
}

/// The operators that every protocol has.
const COMMON: &[&str] = &[
    "CONNECTION_ID",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_LOCAL_ADDRESS",
    "DOWNSTREAM_LOCAL_PORT",
    "DOWNSTREAM_PEER_DNS_SAN",
    "DOWNSTREAM_PEER_FINGERPRINT_256",
    "DOWNSTREAM_PEER_ISSUER",
    "DOWNSTREAM_PEER_SERIAL",
    "DOWNSTREAM_PEER_SUBJECT",
    "DOWNSTREAM_PEER_URI_SAN",
    "DOWNSTREAM_REMOTE_ADDRESS",
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_TLS_CIPHER",
    "DOWNSTREAM_TLS_VERSION",
    "LISTENER_NAME",
    "REQUESTED_SERVER_NAME",
    "ROUTE_NAME",
];

/// The names of the protocol's own operators and of the common ones, which it may have made its own.
pub(super) fn names<M: LogRecords>() -> Vec<&'static str> {
    let common = COMMON.iter().filter(|name| !M::OPERATORS.contains(name));
    M::OPERATORS.iter().chain(common).copied().collect()
}

/// The operator with this name, the protocol's own or a common one.
pub(super) fn resolve<M: LogRecords>(
    name: &str,
    argument: Option<&str>,
) -> Result<Operator<M>, OperatorError> {
    match M::operator(name, argument) {
        Err(OperatorError::Unknown) => {}
        other => return other,
    }
    let operator = common::<M>(name).ok_or(OperatorError::Unknown)?;
    match argument {
        Some(_) => Err(OperatorError::Argument("no argument")),
        None => Ok(operator),
    }
}

fn common<M: LogRecords>(name: &str) -> Option<Operator<M>> {
    let ip = |address: SocketAddr| address.ip().to_canonical();
    Some(match name {
        "CONNECTION_ID" => Box::new(|_, cx, value| value.number(cx.connection.id)),
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS" => {
            Box::new(|_, cx, value| value.optional_display(cx.connection.peer))
        }
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT" => {
            Box::new(move |_, cx, value| value.optional_display(cx.connection.peer.map(ip)))
        }
        "DOWNSTREAM_LOCAL_ADDRESS" => {
            Box::new(|_, cx, value| value.optional_display(cx.connection.local))
        }
        "DOWNSTREAM_LOCAL_PORT" => Box::new(|_, cx, value| match cx.connection.local {
            Some(address) => value.number(address.port().into()),
            None => value.absent(),
        }),
        "DOWNSTREAM_REMOTE_ADDRESS" => {
            Box::new(|_, cx, value| value.optional_display(cx.connection.client))
        }
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT" => {
            Box::new(|_, cx, value| value.optional_display(cx.known_client_ip()))
        }
        "LISTENER_NAME" => Box::new(|_, cx, value| value.text(&*cx.connection.listener)),
        "ROUTE_NAME" => Box::new(|_, cx, value| value.optional(cx.route.as_deref())),
        _ => return tls::<M>(name),
    })
}

/// Those about TLS; without it, or without a client certificate, there is no value.
fn tls<M: LogRecords>(name: &str) -> Option<Operator<M>> {
    Some(match name {
        "DOWNSTREAM_TLS_CIPHER" => of_tls::<M>(|tls, value| value.text(tls.cipher)),
        "DOWNSTREAM_TLS_VERSION" => of_tls::<M>(|tls, value| value.text(tls.version)),
        "REQUESTED_SERVER_NAME" => {
            of_tls::<M>(|tls, value| value.optional(tls.server_name.as_deref()))
        }
        "DOWNSTREAM_PEER_DNS_SAN" => {
            of_client::<M>(|client, value| value.optional(joined(client.dns_names())))
        }
        "DOWNSTREAM_PEER_FINGERPRINT_256" => {
            of_client::<M>(|client, value| value.display(client.fingerprint))
        }
        "DOWNSTREAM_PEER_ISSUER" => of_client::<M>(|client, value| value.text(&*client.issuer)),
        "DOWNSTREAM_PEER_SERIAL" => of_client::<M>(|client, value| value.text(&*client.serial)),
        "DOWNSTREAM_PEER_SUBJECT" => of_client::<M>(|client, value| value.text(&*client.subject)),
        "DOWNSTREAM_PEER_URI_SAN" => {
            of_client::<M>(|client, value| value.optional(joined(client.uris())))
        }
        _ => return None,
    })
}

fn of_tls<M: LogRecords>(write: fn(&TlsInfo, ValueWriter<'_>)) -> Operator<M> {
    Box::new(move |_, cx, value| match &cx.connection.tls {
        Some(tls) => write(tls, value),
        None => value.absent(),
    })
}

fn of_client<M: LogRecords>(write: fn(&ClientCertificate, ValueWriter<'_>)) -> Operator<M> {
    Box::new(
        move |_, cx, value| match cx.connection.client_certificate() {
            Some(client) => write(client, value),
            None => value.absent(),
        },
    )
}

/// Names with commas in between, as Envoy writes them; `None` if there are none.
fn joined<'a>(names: impl Iterator<Item = &'a str>) -> Option<String> {
    let names: Vec<&str> = names.collect();
    (!names.is_empty()).then(|| names.join(","))
}
