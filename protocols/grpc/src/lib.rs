//! gRPC over HTTP: message codec, statuses, deadlines, gRPC-Web, and the filters that know them.
