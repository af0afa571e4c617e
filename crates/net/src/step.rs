//! Names of messages.

use std::fmt;

/// A kind of message, named by the protocol that owns it. The 16-bit tag on the wire is a hash of the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    name: &'static str,
    tag: u16,
}

impl Step {
    /// The tag of an abort notice, which no step has.
    pub(crate) const ABORT_TAG: u16 = u16::MAX;

    /// A step of the given name, such as `"cot.correction"`.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        // FNV-1a, folded to 16 bits.
        let bytes = name.as_bytes();
        let mut hash: u32 = 0x811c_9dc5;
        let mut i = 0;
        while i < bytes.len() {
            hash = (hash ^ bytes[i] as u32).wrapping_mul(0x0100_0193);
            i += 1;
        }
        let folded = (hash >> 16) as u16 ^ (hash & 0xffff) as u16;
        let tag = if folded == Self::ABORT_TAG { 0 } else { folded };
        Self { name, tag }
    }

    /// The name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// The tag.
    #[must_use]
    pub const fn tag(self) -> u16 {
        self.tag
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
