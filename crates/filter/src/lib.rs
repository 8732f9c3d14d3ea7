//! The filter chain: filters, verdicts, facts, and the filters that every protocol shares.
