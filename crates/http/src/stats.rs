//! The counters of HTTP: per listener, and per route.
//!
//! Every handle is resolved when a service is built; reasons, which are many and mostly never happen, when they
//! first do. Not the cluster's counters: those are `portcullis-cluster`'s. Start at [`HttpStats`].

use std::cell::RefCell;

use portcullis_stats::{Counter, Gauge, Histogram, Shard, Unit};

use crate::head::Status;
use crate::message::Record;

/// The counters of one listener on one worker.
#[derive(Debug)]
pub struct HttpStats {
    /// Requests being carried out.
    pub active: Gauge,
    /// Attempts after the first.
    pub retries: Counter,
    requests: Counter,
    responses: ByClass,
    seconds: Histogram,
    request_bytes: Counter,
    response_bytes: Counter,
    local_replies: ByReason,
    downstream_errors: ByReason,
}

impl HttpStats {
    /// The counters of one listener; `shard` carries the listener's label.
    #[must_use]
    pub fn new(shard: &Shard) -> Self {
        Self {
            active: shard.gauge(
                "portcullis_http_requests_active",
                "Requests being carried out.",
                &[],
            ),
            retries: shard.counter(
                "portcullis_http_retries_total",
                "Requests sent upstream again.",
                &[],
            ),
            requests: shard.counter(
                "portcullis_http_requests_total",
                "Requests that were read, well-formed or not.",
                &[],
            ),
            responses: ByClass::new(
                shard,
                "portcullis_http_responses_total",
                "Final responses by class of their status.",
            ),
            seconds: shard.histogram(
                "portcullis_http_request_seconds",
                "Time from a request's head to the end of its response.",
                Unit::Microseconds,
                &[],
            ),
            request_bytes: shard.counter(
                "portcullis_http_request_body_bytes_total",
                "Bytes of request bodies.",
                &[],
            ),
            response_bytes: shard.counter(
                "portcullis_http_response_body_bytes_total",
                "Bytes of response bodies.",
                &[],
            ),
            local_replies: ByReason::new(
                shard,
                "portcullis_http_local_replies_total",
                "Exchanges that this gateway answered or ended itself, by reason.",
            ),
            downstream_errors: ByReason::new(
                shard,
                "portcullis_http_downstream_errors_total",
                "Failures of downstream connections outside of an exchange, by reason.",
            ),
        }
    }

    /// An exchange is over.
    pub fn on_complete(&self, record: &Record) {
        self.requests.inc();
        if let Some(status) = record.status {
            self.responses.inc(status);
        }
        self.seconds.record_duration(record.duration);
        // Most requests have no body.
        if record.request_bytes > 0 {
            self.request_bytes.add(record.request_bytes);
        }
        self.response_bytes.add(record.response_bytes);
        if let Some(reason) = record.reason {
            self.local_replies.inc(reason);
        }
    }

    /// A connection failed where no exchange was under way.
    pub fn on_downstream_error(&self, reason: &'static str) {
        self.downstream_errors.inc(reason);
    }

    /// Bytes that were no request were answered.
    pub fn on_refused(&self, status: Status, reason: &'static str) {
        self.requests.inc();
        self.responses.inc(status);
        self.local_replies.inc(reason);
    }
}

/// A counter for each class of status.
#[derive(Debug)]
pub(crate) struct ByClass([Counter; 6]);

impl ByClass {
    pub(crate) fn new(shard: &Shard, name: &'static str, help: &'static str) -> Self {
        let of = |class| shard.counter(name, help, &[("code_class", class)]);
        Self(["other", "1xx", "2xx", "3xx", "4xx", "5xx"].map(of))
    }

    pub(crate) fn inc(&self, status: Status) {
        let class = usize::from(status.code() / 100);
        if let Some(counter) = self.0.get(class).or_else(|| self.0.first()) {
            counter.inc();
        }
    }
}

/// Counters with a `reason` label, made when a reason first happens. Reasons are fixed words of this program, so
/// there is a bound on how many there are; past [`MAX_REASONS`] all others count as `other`.
#[derive(Debug)]
pub(crate) struct ByReason {
    shard: Shard,
    name: &'static str,
    help: &'static str,
    counters: RefCell<Vec<(&'static str, Counter)>>,
}

const MAX_REASONS: usize = 256;

impl ByReason {
    pub(crate) fn new(shard: &Shard, name: &'static str, help: &'static str) -> Self {
        Self {
            shard: shard.clone(),
            name,
            help,
            counters: RefCell::default(),
        }
    }

    pub(crate) fn inc(&self, reason: &'static str) {
        let mut counters = self.counters.borrow_mut();
        // By address: the same word at two addresses costs two entries, which count in the same cell.
        if let Some((_, counter)) = counters
            .iter()
            .find(|(known, _)| std::ptr::eq(*known, reason))
        {
            counter.inc();
            return;
        }
        let label = if counters.len() < MAX_REASONS {
            reason
        } else {
            "other"
        };
        let counter = self
            .shard
            .counter(self.name, self.help, &[("reason", label)]);
        counter.inc();
        if counters.len() < MAX_REASONS {
            counters.push((reason, counter));
        }
    }
}

#[cfg(test)]
mod tests {
    use portcullis_stats::Registry;

    use super::*;

    #[test]
    fn classes_and_reasons_are_counted() {
        let registry = Registry::new(1);
        let stats = HttpStats::new(&registry.shard(0));
        for (code, reason) in [
            (400, "missing_host"),
            (408, "head_timeout"),
            (400, "missing_host"),
        ] {
            stats.on_refused(Status::from_code(code).unwrap(), reason);
        }
        stats.responses.inc(Status::from_code(999).unwrap());
        let snapshot = registry.snapshot();
        type Row<'a> = (&'a str, &'a [(&'static str, &'a str)], u64);
        let rows: [Row<'_>; 5] = [
            ("portcullis_http_requests_total", &[], 3),
            (
                "portcullis_http_responses_total",
                &[("code_class", "4xx")],
                3,
            ),
            (
                "portcullis_http_responses_total",
                &[("code_class", "other")],
                1,
            ),
            (
                "portcullis_http_local_replies_total",
                &[("reason", "missing_host")],
                2,
            ),
            (
                "portcullis_http_local_replies_total",
                &[("reason", "head_timeout")],
                1,
            ),
        ];
        for (name, labels, expected) in rows {
            assert_eq!(
                snapshot.counter(name, labels),
                expected,
                "{name} {labels:?}"
            );
        }
    }
}
