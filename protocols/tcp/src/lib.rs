//! TCP proxying: connections through a filter chain to a cluster.
