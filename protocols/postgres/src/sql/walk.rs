//! to be written
use super::{Options, analysis::Analysis};
#[derive(Debug, Clone, Default)]
pub(super) struct Scratch {}
pub(super) fn walk(_sql: &[u8], _options: &Options, _out: &mut Analysis) {}
