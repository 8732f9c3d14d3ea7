//! HTTP meaning shared by every HTTP version: heads, framing, filters, routes, and the exchange.
