//! to be written
use std::collections::HashSet;
/// Functions that a configuration vouches for: free of effects, fit for a replica.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FunctionSet(HashSet<Box<[u8]>, foldhash::fast::FixedState>);
