//! Commands in a buffer, as the command table wants to see them.

use crate::command::Arguments;
use crate::request::CommandRef;

impl Arguments for CommandRef<'_> {
    #[inline]
    fn len(&self) -> usize {
        CommandRef::len(*self)
    }

    #[inline]
    fn at(&self, index: usize) -> Option<&[u8]> {
        self.argument(index)
    }
}
