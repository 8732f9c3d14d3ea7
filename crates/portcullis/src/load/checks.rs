//! What can only be seen with the whole configuration at hand: addresses that clash, clusters that nobody uses.
//!
//! Each block by itself has been read before. Start at [`address_clashes`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use portcullis_cluster::{ClusterConfig, UpstreamVersion};
use portcullis_config::{Diagnostics, ListenAddress, Located, Node, Span, Value};

use super::listeners::Listeners;
use super::report::Warning;
use crate::model::{AdminConfig, RuntimeConfig};

/// A name server is asked for names, so it cannot have one itself.
pub(super) fn name_server(runtime: &RuntimeConfig, errors: &mut Diagnostics) {
    if let Some(server) = &runtime.name_server
        && server.as_socket().is_none()
    {
        errors
            .error(server.span, format!("{} is not an address", server.value))
            .expected("an address and port such as 10.0.0.53:53");
    }
}

/// Requests carry the token in a field, so that some cannot be given, and an empty one is given by anybody.
pub(super) fn admin_token(root: &Node, admin: &AdminConfig, errors: &mut Diagnostics) {
    let Some(token) = &admin.token else { return };
    let can_be_sent = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    // Fields have no spaces at their ends (RFC 9110 section 5.5).
    if !token.is_empty() && token.trim() == token && token.bytes().all(can_be_sent) {
        return;
    }
    let written = root.get("admin").and_then(|admin| admin.get("token"));
    let problem = if token.trim().is_empty() {
        "admin.token is empty"
    } else {
        "admin.token has something that no client can send as a token"
    };
    errors
        .error(written.map_or(Span::NONE, |node| node.span), problem)
        .expected("visible ASCII, and spaces only inside");
}

/// A cluster can only be spoken to in what the binary holds.
pub(super) fn upstream_version(cluster: &ClusterConfig, errors: &mut Diagnostics) {
    if !cfg!(feature = "http3") && cluster.http_version() == UpstreamVersion::Http3 {
        errors.error(cluster.http.span, "HTTP/3 was left out of this build");
    }
}

/// Reports every pair of listeners, the admin address included, that would have to share an address.
pub(super) fn address_clashes(
    listeners: &Listeners<'_>,
    admin: &Located<ListenAddress>,
    errors: &mut Diagnostics,
) {
    let named = listeners
        .addresses
        .iter()
        .map(|(name, address)| (format!("listener '{name}'"), address));
    let all: Vec<_> = [("the admin address".to_owned(), admin)]
        .into_iter()
        .chain(named)
        .collect();
    for (index, (name, address)) in all.iter().enumerate() {
        let earlier = all.iter().take(index);
        for (other, taken) in earlier.filter(|(_, taken)| taken.clashes_with(address)) {
            let error = errors.error(
                address.span,
                format!("{name} cannot listen on {address}: {other} has {taken}"),
            );
            if taken.span.is_none() {
                // The default, which is nowhere in the text.
                error.help("set `admin: { listen: ... }` to move it");
            } else {
                error.also(taken.span, format!("{other} listens here"));
            }
        }
    }
}

/// Reports clusters that are right by themselves, and not for the listeners that use them: each once.
pub(super) fn cluster_uses(
    listeners: &Listeners,
    clusters: &BTreeMap<Arc<str>, Arc<ClusterConfig>>,
    names: &BTreeMap<&str, Span>,
    errors: &mut Diagnostics,
) {
    for (name, cluster) in clusters {
        let mut protocols = listeners.models.values().map(|model| &model.protocol);
        let found = protocols.find_map(|protocol| {
            let mistakes = protocol.cluster_mistakes(name, cluster);
            (!mistakes.is_empty()).then_some(mistakes)
        });
        for mistake in found.into_iter().flatten() {
            let whole = names.get(&**name).copied().unwrap_or(Span::NONE);
            errors
                .error(mistake.span.unwrap_or(whole), mistake.message)
                .help(mistake.help);
        }
    }
}

/// Warns of clusters that no listener mentions. Protocols have their own ways to name a cluster, so any text that
/// is a cluster's name counts as a mention.
pub(super) fn unused_clusters(
    root: &Node,
    clusters: &BTreeMap<&str, Span>,
    warnings: &mut Vec<Warning>,
) {
    let mut mentioned = BTreeSet::new();
    if let Some(listeners) = root.get("listeners") {
        collect_texts(listeners, &mut mentioned);
    }
    let unused = clusters
        .iter()
        .filter(|(name, _)| !mentioned.contains(*name));
    warnings.extend(unused.map(|(name, span)| Warning {
        span: *span,
        message: format!("no listener uses cluster '{name}'"),
    }));
}

pub(super) fn collect_texts<'a>(node: &'a Node, texts: &mut BTreeSet<&'a str>) {
    match &node.value {
        Value::String(text) => {
            texts.insert(text);
        }
        Value::Sequence(items) => items.iter().for_each(|item| collect_texts(item, texts)),
        Value::Mapping(entries) => entries
            .iter()
            .for_each(|(_, value)| collect_texts(value, texts)),
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::UInt(_) | Value::Float(_) => {}
    }
}
