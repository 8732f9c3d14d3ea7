//! From a configuration file to a [`Model`]: every mistake found in one run, each with its place.
//!
//! Nothing but certificates and lists of users is read besides the file, and nothing is started here: what this accepts is what
//! `portcullis check` accepts, and a reload reads through the same door. Start at [`load`]; listeners are read in
//! `listeners`, and what can only be seen with everything at hand (ports that clash, clusters nobody uses) is in
//! `checks`.

mod checks;
mod health;
mod ignored;
mod listeners;
mod report;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use portcullis_cluster::ClusterConfig;
use portcullis_config::{Diagnostics, Key, Node, Source, Span};
use portcullis_net::tls::upstream::ClientTlsFiles;
use portcullis_proxy::{ReadContext, Registry};
use serde::Deserialize;

pub(crate) use listeners::{ListenerKeys, protocol_names, protocol_schema};
pub use report::Report;

use crate::admin::check_address;
use crate::logs::LogsConfig;
use crate::model::{AdminConfig, DrainConfig, Model, ProcessLimits, RuntimeConfig};

/// Where a configuration comes from.
#[derive(Debug, Clone)]
pub enum ConfigSource {
    /// A file, read again at each reload.
    File(PathBuf),
    /// A text that does not change.
    Text {
        /// Its name in messages.
        name: String,
        /// The text.
        text: String,
    },
}

impl ConfigSource {
    /// The name in messages.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Text { name, .. } => name.clone(),
        }
    }

    /// The text as it is now.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn text(&self) -> io::Result<String> {
        match self {
            Self::File(path) => fs::read_to_string(path),
            Self::Text { text, .. } => Ok(text.clone()),
        }
    }
}

/// What became of a configuration: a model if it has no mistakes, and in any case what there is to say about it.
#[derive(Debug)]
pub struct Loaded {
    model: Option<Model>,
    logs: LogsConfig,
    report: Report,
}

impl Loaded {
    /// What the process is to say of itself; the default if there are mistakes.
    #[must_use]
    pub const fn logs(&self) -> &LogsConfig {
        &self.logs
    }

    /// The model, if there are no mistakes, and the report.
    #[must_use]
    pub fn into_parts(self) -> (Option<Model>, Report) {
        (self.model, self.report)
    }

    /// The model.
    ///
    /// # Errors
    /// The report, if there are mistakes.
    pub fn into_result(self) -> Result<Model, Report> {
        self.model.ok_or(self.report)
    }
}

/// Reads and checks a configuration in this process's environment.
#[must_use]
pub fn load(source: &ConfigSource, registry: &Registry) -> Loaded {
    load_text(&source.name(), source.text(), registry)
}

/// As [`load`], when the text, or the reason why there is none, is at hand.
#[must_use]
pub fn load_text(name: &str, text: io::Result<String>, registry: &Registry) -> Loaded {
    match text {
        Ok(text) => {
            let source = Source::new(name, text);
            read(&source, registry, &|variable| env::var(variable).ok())
        }
        Err(error) => Loaded {
            model: None,
            logs: LogsConfig::default(),
            report: Report::of_error(name, format!("cannot read {name}: {error}")),
        },
    }
}

/// Reads and checks a configuration. `environment` looks up variables.
#[must_use]
pub fn read(
    source: &Arc<Source>,
    registry: &Registry,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Loaded {
    let mut report = Report::new(source);
    let read = portcullis_config::load(source, environment, &mut report.errors)
        .and_then(|root| read_document(&root, registry, &mut report))
        .filter(|_| report.errors.is_empty());
    let (model, logs) = read.unzip();
    Loaded {
        model,
        logs: logs.unwrap_or_default(),
        report,
    }
}

/// The top level. Listeners and clusters are read one by one: what keys they have depends on their names.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    /// The admin address.
    #[serde(default)]
    admin: AdminConfig,
    /// What the process says of itself. No part of the model: it moves no traffic.
    #[serde(default)]
    logs: LogsConfig,
    /// Threads.
    #[serde(default)]
    runtime: RuntimeConfig,
    /// Bounds for the whole process.
    #[serde(default)]
    limits: ProcessLimits,
    /// How the process ends.
    #[serde(default)]
    drain: DrainConfig,
    /// What is accepted, by name.
    #[serde(default, rename = "listeners")]
    _listeners: Option<Node>,
    /// Where it goes, by name.
    #[serde(default, rename = "clusters")]
    _clusters: Option<Node>,
}

/// Goes on after every mistake that leaves something to check.
fn read_document(
    root: &Node,
    registry: &Registry,
    report: &mut Report,
) -> Option<(Model, LogsConfig)> {
    let errors = &mut report.errors;
    let document: Option<Document> = root.read(errors);
    let clusters = read_clusters(root.get("clusters"), registry, errors);
    let names: Vec<String> = clusters
        .nodes
        .keys()
        .map(|name| (*name).to_owned())
        .collect();
    let listeners = listeners::read_all(root.get("listeners"), registry, &names, errors);
    if listeners.is_none_there && document.is_some() {
        errors
            .error(Span::NONE, "the configuration has no listeners")
            .expected("`listeners:` with at least one");
    }
    checks::cluster_uses(&listeners, &clusters.configs, &clusters.nodes, errors);
    ignored::ignored_keys(root, errors);
    report.warnings.extend(listeners.warnings.iter().cloned());
    checks::unused_clusters(root, &clusters.nodes, &mut report.warnings);
    let document = document?;
    let admin = document.admin;
    if let Some(problem) = check_address(&admin) {
        errors.error(admin.listen.span, problem);
    }
    checks::admin_token(root, &admin, errors);
    checks::name_server(&document.runtime, errors);
    checks::address_clashes(&listeners, &admin.listen, errors);
    let model = Model {
        admin,
        runtime: document.runtime,
        limits: document.limits,
        drain: document.drain,
        listeners: listeners.models,
        clusters: clusters.configs,
        document: root.to_json(),
    };
    Some((model, document.logs))
}

/// What the `clusters` block holds.
struct Clusters<'a> {
    /// All of them, with the place of each name.
    nodes: BTreeMap<&'a str, Span>,
    /// Those without mistakes.
    configs: BTreeMap<Arc<str>, Arc<ClusterConfig>>,
}

fn read_clusters<'a>(
    block: Option<&'a Node>,
    registry: &Registry,
    errors: &mut Diagnostics,
) -> Clusters<'a> {
    let mut clusters = Clusters {
        nodes: BTreeMap::new(),
        configs: BTreeMap::new(),
    };
    let entries = named_blocks(block, "clusters", errors);
    let names: Vec<String> = entries.iter().map(|(key, _)| key.name.clone()).collect();
    for (key, node) in entries {
        clusters.nodes.insert(&key.name, key.span);
        check_name("cluster", key, errors);
        let path = format!("clusters.{}", key.name);
        let mut cx = ReadContext {
            diagnostics: errors,
            clusters: &names,
            path: &path,
        };
        if let Some(config) = health::read_cluster(node, registry, &mut cx) {
            config.check(errors);
            checks::upstream_version(&config, errors);
            check_tls(&config, errors);
            clusters
                .configs
                .insert(key.name.as_str().into(), Arc::new(config));
        }
    }
    clusters
}

/// Reads the files that the cluster's TLS names, to see whether they can be used.
fn check_tls(config: &ClusterConfig, errors: &mut Diagnostics) {
    for error in ClientTlsFiles::load(config).err().unwrap_or_default() {
        errors.error(error.span, error.to_string());
    }
}

/// The entries of a block that maps names to blocks; anything else in its place is an error.
fn named_blocks<'a>(
    block: Option<&'a Node>,
    what: &str,
    errors: &mut Diagnostics,
) -> &'a [(Key, Node)] {
    let Some(block) = block else { return &[] };
    if let Some(entries) = block.as_mapping() {
        return entries;
    }
    if !block.is_broken() {
        errors
            .error_at(block, format!("{what} is {}", block.describe()))
            .expected("a block of names");
    }
    &[]
}

/// Names become labels, log fields and parts of paths: they stay short and plain.
fn check_name(kind: &str, key: &Key, errors: &mut Diagnostics) {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let short = (1..=MAX_NAME).contains(&key.name.len());
    if !short || !key.name.bytes().all(plain) {
        errors
            .error(
                key.span,
                format!("'{}' cannot be the name of a {kind}", key.name),
            )
            .expected("1 to 64 letters, digits, '-', '_' and '.'");
    }
}

const MAX_NAME: usize = 64;
