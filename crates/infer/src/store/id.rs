//! Names of pre-computes and of the stores that hold them: 16 random bytes each.

use std::fmt;

use rand::CryptoRng;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; 16]);

        impl $name {
            /// A fresh name.
            #[must_use]
            pub fn random(rng: &mut impl CryptoRng) -> Self {
                let mut id = [0; 16];
                rng.fill_bytes(&mut id);
                Self(id)
            }

            /// From its bytes.
            #[must_use]
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// Its bytes.
            #[must_use]
            pub fn bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                // The whole name is a bearer token; four bytes suffice to tell names apart in a log.
                write!(f, "{}({:02x}{:02x}{:02x}{:02x}..)", stringify!($name), self.0[0], self.0[1], self.0[2], self.0[3])
            }
        }
    };
}

id! {
    /// Names one pre-compute on both sides. Drawn by the server; a client proves its claim by knowing it.
    PrepId
}

id! {
    /// Names a store towards its peers. Who knows a client's name can claim to be that client: it is a secret between the
    /// two, sent over the protected channel only.
    PoolId
}

/// Name of a record's file.
pub(super) fn hex(id: &[u8; 16]) -> String {
    id.iter().map(|b| format!("{b:02x}")).collect()
}
