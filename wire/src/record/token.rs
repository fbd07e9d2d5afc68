//! Proofs that the ResourceManager said something: the part of a token that travels.
//! Owns: `TokenMac`, `NmToken`. Called by: the ApplicationMaster and NodeManager protocols.
//! Does not: make or check one (see [`crate::token`]), nor carry the identifier: both sides know it from other fields.

use core::fmt;

use rkyv::{Archive, Deserialize, Serialize};

use super::{NodeHandle, NodeId};

/// A token's signature: HMAC-SHA256 over the identifier that [`crate::token`] builds from the fields around it.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Copy, PartialEq, Eq)]
#[rkyv(derive(Clone, Copy))]
pub struct TokenMac {
    /// Number of the key it was made with; keys roll.
    pub key_id: u32,
    /// The signature.
    pub mac: [u8; 32],
}

impl ArchivedTokenMac {
    /// The record itself.
    #[must_use]
    pub const fn to_native(&self) -> TokenMac {
        TokenMac { key_id: self.key_id.to_native(), mac: self.mac }
    }
}

/// Who holds the signature may act, so it is never printed.
impl fmt::Debug for TokenMac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenMac").field("key_id", &self.key_id).field("mac", &"(secret)").finish()
    }
}

/// What an ApplicationMaster needs once to talk to a node: where it is, and the right to.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct NmToken {
    /// The node, as grants name it.
    pub node: NodeHandle,
    /// Its host and the port of its container-management server.
    pub node_id: NodeId,
    /// Port of its web server, 0 for none.
    pub http_port: u16,
    /// Its rack.
    pub rack_name: String,
    /// Signature of the attempt's right to use the node.
    pub token: TokenMac,
}
