//! Reading listeners: the keys that all have, and then the rest by the listener's protocol.
//!
//! What the protocol's keys mean is the protocol's business; here is only who reads what. Start at [`read_all`].

use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis_config::{Diagnostics, Key, ListenAddress, Located, Node, Span, Value, suggest};
use portcullis_net::clock;
use portcullis_net::tls::config::TlsConfig;
use portcullis_net::tls::server::TlsFiles;
use portcullis_net::{ProxyProtocolConfig, SocketOptions};
use portcullis_proxy::{ErasedConfig, ReadContext, Registry, Transport, detect};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;

use super::report::Warning;
use super::{check_name, named_blocks};
use crate::model::{AcceptBalance, ListenerLimits, ListenerModel};
use crate::protocols::is_left_out;

/// What the `listeners` block holds.
pub(super) struct Listeners<'a> {
    /// Those without mistakes.
    pub(super) models: BTreeMap<Arc<str>, Arc<ListenerModel>>,
    /// Every address that could be read, with the listener's name.
    pub(super) addresses: Vec<(&'a str, Located<ListenAddress>)>,
    /// What is probably a mistake, and harmless.
    pub(super) warnings: Vec<Warning>,
    /// Nothing was written.
    pub(super) is_none_there: bool,
}

/// The keys that every listener has.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListenerKeys {
    /// Where to accept: `host:port`, `:port` for all addresses, or `unix:/path`; `udp://host:port` where the protocol is
    /// spoken over datagrams.
    listen: Located<ListenAddress>,
    /// The kind of conversation.
    #[serde(rename = "protocol")]
    _protocol: Located<String>,
    /// Bounds.
    #[serde(default)]
    limits: ListenerLimits,
    /// How accepted connections find their worker. Default `reuse_port`, which costs least; `exact` where the protocol has
    /// few, long connections.
    #[serde(default)]
    balance: Option<AcceptBalance>,
    /// Expect a PROXY header, version 1 or 2, from these peers.
    #[serde(default)]
    proxy_protocol: Option<ProxyProtocolConfig>,
    /// End TLS here: the protocol sees what was encrypted. Where TLS begins inside the conversation the protocol offers it
    /// there. Default: connections are taken as they come.
    #[serde(default)]
    tls: Option<TlsConfig>,
    /// How its sockets behave.
    #[serde(default)]
    socket: SocketOptions,
}

/// The names of [`ListenerKeys`].
pub(crate) const LISTENER_KEYS: [&str; 7] = [
    "listen",
    "protocol",
    "limits",
    "balance",
    "proxy_protocol",
    "tls",
    "socket",
];

/// Reads the `listeners` block.
pub(super) fn read_all<'a>(
    block: Option<&'a Node>,
    registry: &Registry,
    clusters: &[String],
    errors: &mut Diagnostics,
) -> Listeners<'a> {
    let entries = named_blocks(block, "listeners", errors);
    let mut listeners = Listeners {
        models: BTreeMap::new(),
        addresses: Vec::new(),
        warnings: Vec::new(),
        is_none_there: block.is_none_or(|block| block.as_mapping().is_some_and(<[_]>::is_empty)),
    };
    for (key, node) in entries {
        check_name("listener", key, errors);
        let path = format!("listeners.{}", key.name);
        let mut cx = ReadContext {
            diagnostics: errors,
            clusters,
            path: &path,
        };
        let (keys, protocol) = read_one(node, registry, &mut cx);
        let Some(keys) = keys else { continue };
        if let Some(tls) = &keys.tls {
            let alpn = protocol.as_ref().map(|protocol| protocol.alpn());
            check_tls(
                tls,
                &alpn.unwrap_or_default(),
                errors,
                &mut listeners.warnings,
            );
            let start = protocol.as_ref().map(|protocol| protocol.tls_start());
            if start == Some(None) {
                differing_starts(node, errors);
            }
        }
        check_trusted(&keys, node, errors);
        if let Some(protocol) = &protocol {
            check_transport(&keys.listen, node, &**protocol, errors);
            if protocol.transport() == Transport::Both {
                check_http3(&keys, node, errors);
                listeners
                    .addresses
                    .extend(datagrams_beside(&key.name, &keys.listen));
            }
        }
        if let Some(protocol) = protocol {
            let before = listeners.models.iter();
            let warnings = before.filter_map(|(name, model)| {
                let warning = protocol.warning(&*model.protocol)?;
                let message = format!("with the listener '{name}': {warning}");
                let span = node.span;
                Some(Warning { span, message })
            });
            listeners.warnings.extend(warnings);
            let name = key.name.as_str().into();
            listeners
                .models
                .insert(name, Arc::new(model(&keys, protocol)));
        }
        listeners.addresses.push((&key.name, keys.listen));
    }
    listeners
}

type Parts = (Option<ListenerKeys>, Option<Arc<dyn ErasedConfig>>);

/// Both halves are read whatever becomes of the other, so that both report their mistakes.
fn read_one(node: &Node, registry: &Registry, cx: &mut ReadContext<'_>) -> Parts {
    let mended = mend_protocol(node, cx.diagnostics);
    let node = mended.as_ref().unwrap_or(node);
    let name = node.get("protocol").filter(|name| !name.is_broken());
    let named = name.and_then(|name| Some((name.as_str()?, name.span)));
    let schema = named.and_then(|(name, _)| protocol_schema(registry, name));
    let (mut common, mut own) = split(node, schema.as_ref());
    if let Some(schema) = &schema {
        take_out_unknown(&mut common, &mut own, schema, cx.diagnostics);
    }
    let keys: Option<ListenerKeys> = common.read(cx.diagnostics);
    let Some((text, span)) = named else {
        return (keys, None);
    };
    if schema.is_none() {
        unknown_protocol(registry, text, span, cx.diagnostics);
        return (keys, None);
    }
    let config = if text == detect::NAME {
        detect::read(registry, &own, cx)
    } else {
        registry.read(text, &own, cx)
    };
    (keys, config)
}

/// Reports a misspelt `protocol`. Returns the block with that key under its right name, so that the rest can be read by
/// what the protocol has; `None` where there is nothing to mend.
fn mend_protocol(node: &Node, errors: &mut Diagnostics) -> Option<Node> {
    const MEANT: &str = "protocol";
    if node.get(MEANT).is_some() {
        return None;
    }
    let is_meant = |name: &str| {
        !LISTENER_KEYS.contains(&name)
            && suggest(name, LISTENER_KEYS.iter().copied()) == Some(MEANT)
    };
    let mut mended = node.clone();
    let Value::Mapping(entries) = &mut mended.value else {
        return None;
    };
    let (key, _) = entries
        .iter_mut()
        .find(|(key, value)| value.as_str().is_some() && is_meant(&key.name))?;
    Node::unknown_key(&key.name, key.span, &LISTENER_KEYS, errors);
    MEANT.clone_into(&mut key.name);
    Some(mended)
}

/// The common keys and the protocol's. Both may have `limits`: how many connections is common, the rest is not.
fn split(node: &Node, schema: Option<&Json>) -> (Node, Node) {
    let (mut common, mut own) = node.split(&LISTENER_KEYS);
    let both = schema.is_some_and(|schema| schema.pointer("/properties/limits").is_some());
    if !both {
        return (common, own);
    }
    if let (Value::Mapping(common), Value::Mapping(own)) = (&mut common.value, &mut own.value)
        && let Some((key, limits)) = common.iter_mut().find(|(key, _)| key.name == "limits")
    {
        let (ours, theirs) = limits.split(&["connections"]);
        if theirs
            .as_mapping()
            .is_some_and(|entries| !entries.is_empty())
        {
            own.push((key.clone(), theirs));
            *limits = ours;
        }
    }
    (common, own)
}

/// The schema of a protocol's own keys.
pub(crate) fn protocol_schema(registry: &Registry, name: &str) -> Option<Json> {
    if name == detect::NAME {
        return Some(detect::schema(registry));
    }
    registry.schema(name)
}

/// The names a listener's `protocol` can have.
pub(crate) fn protocol_names(registry: &Registry) -> Vec<&'static str> {
    registry.names().chain([detect::NAME]).collect()
}

fn unknown_protocol(registry: &Registry, name: &str, span: Span, errors: &mut Diagnostics) {
    let names = protocol_names(registry);
    let problem = if is_left_out(name) {
        format!("protocol '{name}' was left out of this build")
    } else {
        format!("unknown protocol '{name}'")
    };
    let error = errors
        .error(span, problem)
        .expected(format!("one of {}", names.join(", ")));
    if let Some(near) = suggest(name, names.iter().copied()) {
        error.suggest(near);
    }
}

/// Reports the keys that neither every listener nor this protocol has, and takes them out. The protocol would find
/// them too, but does not know the common keys that may have been meant. What was probably meant is read under its
/// right name, so that its value is checked and not also reported as missing.
fn take_out_unknown(common: &mut Node, own: &mut Node, schema: &Json, errors: &mut Diagnostics) {
    let of_protocol = schema.get("properties").and_then(Json::as_object);
    let of_protocol: Vec<&str> = of_protocol
        .map(|keys| keys.keys().map(String::as_str).collect())
        .unwrap_or_default();
    let is_common = |key: &&&str| LISTENER_KEYS.contains(*key);
    let of_it_alone = of_protocol.iter().filter(|key| !is_common(key));
    let all: Vec<&str> = LISTENER_KEYS.iter().chain(of_it_alone).copied().collect();
    let (known, unknown) = own.split(&of_protocol);
    if unknown.as_mapping().is_none() {
        return;
    }
    *own = known;
    for (key, value) in unknown.entries() {
        Node::unknown_key(&key.name, key.span, &all, errors);
        let Some(meant) = suggest(&key.name, all.iter().copied()) else {
            continue;
        };
        let into = if of_protocol.contains(&meant) {
            &mut *own
        } else {
            &mut *common
        };
        if into.get(meant).is_none()
            && let Value::Mapping(entries) = &mut into.value
        {
            let name = meant.to_owned();
            entries.push((
                Key {
                    name,
                    ..key.clone()
                },
                value.clone(),
            ));
        }
    }
}

/// An address that suits what the protocol is spoken over, and no settings of connections where there are none.
fn check_transport(
    listen: &Located<ListenAddress>,
    node: &Node,
    protocol: &dyn ErasedConfig,
    errors: &mut Diagnostics,
) {
    let name = protocol.protocol();
    let transport = protocol.transport();
    let (fits, expected) = match (transport, &listen.value) {
        (Transport::Connections, address) => (
            !matches!(address, ListenAddress::Udp(_)),
            "host:port or unix:/path",
        ),
        (Transport::Datagrams, address) => {
            (matches!(address, ListenAddress::Udp(_)), "udp://host:port")
        }
        (Transport::Both, address) => (
            matches!(address, ListenAddress::Tcp(_)),
            "host:port, which is both for TCP and for UDP",
        ),
    };
    if !fits {
        errors
            .error(
                listen.span,
                format!("{name} cannot be spoken over {}", listen.value),
            )
            .expected(expected);
    }
    if transport != Transport::Datagrams {
        return;
    }
    let mut refuse = |node: Option<&Node>, key: &str| {
        if let Some(node) = node {
            errors.error(
                node.span,
                format!("'{key}' is for connections, and {name} has none"),
            );
        }
    };
    for key in ["balance", "proxy_protocol", "tls"] {
        refuse(node.get(key), key);
    }
    let socket = node.get("socket");
    for key in ["nodelay", "keepalive", "user_timeout", "backlog"] {
        refuse(socket.and_then(|socket| socket.get(key)), key);
    }
}

/// Somebody must be trusted to send a PROXY header, or every connection is refused. Peers of a Unix socket are; datagrams
/// have none, which [`check_transport`] says.
fn check_trusted(keys: &ListenerKeys, node: &Node, errors: &mut Diagnostics) {
    let nobody = keys
        .proxy_protocol
        .as_ref()
        .is_some_and(|header| header.trusted.is_empty());
    if !nobody || !matches!(keys.listen.value, ListenAddress::Tcp(_)) {
        return;
    }
    let block = node.get("proxy_protocol");
    if let Some(list) = block.and_then(|block| block.get("trusted")) {
        errors
            .error_at(list, "nobody is trusted to send a PROXY header")
            .expected("the networks of the proxies in front, such as [10.0.0.0/8]");
    }
}

/// What a protocol that has both needs to begin QUIC with.
fn check_http3(keys: &ListenerKeys, node: &Node, errors: &mut Diagnostics) {
    let span = node.get("http3").map_or(Span::NONE, |key| key.span);
    if keys.tls.is_none() {
        errors
            .error(span, "HTTP/3 is always encrypted, and there is no `tls`")
            .help("give the listener certificates, or leave out `http3`");
    }
}

/// The address of the datagrams of a listener that has both.
fn datagrams_beside<'a>(
    name: &'a str,
    listen: &Located<ListenAddress>,
) -> Option<(&'a str, Located<ListenAddress>)> {
    let ListenAddress::Tcp(socket) = listen.value else {
        return None;
    };
    Some((name, Located::new(ListenAddress::Udp(socket), listen.span)))
}

/// Before anything has been said a listener can only do one thing.
fn differing_starts(listener: &Node, errors: &mut Diagnostics) {
    let span = listener.get("tls").map_or(Span::NONE, |tls| tls.span);
    errors
        .error(
            span,
            "some of these protocols begin with TLS, others begin it in their own conversation",
        )
        .help("give those a listener of their own, or leave out `tls`");
}

/// Reads the files, too: what is in them decides whether the listener can run.
fn check_tls(
    tls: &TlsConfig,
    alpn: &[&str],
    errors: &mut Diagnostics,
    warnings: &mut Vec<Warning>,
) {
    let before = errors.count();
    tls.check(alpn, errors);
    if errors.count() > before {
        return;
    }
    let files = match TlsFiles::load(tls, tls.alpn_names(alpn), clock::now(), None) {
        Ok(files) => files,
        Err(problems) => {
            for problem in problems {
                errors.error(problem.span, problem.to_string());
            }
            return;
        }
    };
    for (index, (pair, loaded)) in tls
        .certificates
        .iter()
        .zip(files.certificates())
        .enumerate()
    {
        let mut warn = |message: &str| {
            let message = format!("{}: {message}", loaded.path.display());
            let span = pair.cert.span;
            warnings.push(Warning { span, message });
        };
        if loaded.certificate.is_expired(clock::wall()) {
            warn("the certificate has expired, clients will refuse it");
        }
        if index > 0 && loaded.certificate.names().next().is_none() {
            warn("no client will get this certificate: it has no DNS name and is not the first");
        }
    }
}

fn model(keys: &ListenerKeys, protocol: Arc<dyn ErasedConfig>) -> ListenerModel {
    ListenerModel {
        listen: keys.listen.value.clone(),
        limits: keys.limits.clone(),
        balance: keys.balance.unwrap_or_else(|| protocol.balance()),
        proxy_protocol: keys.proxy_protocol.clone(),
        tls: keys.tls.clone(),
        socket: keys.socket.clone(),
        protocol,
    }
}
