//! The hot path of the codec in small.

fn main() {}
