//! Tokens: what is signed, and how. A token proves that the ResourceManager granted what the fields around it say.
//! Owns: the identifier's bytes of each kind, signing, checking. Called by: the scheduler (signs), NodeManagers and doors
//! (check); any thread. Does not: hold keys that roll, read a clock, or decide what a false token leads to.
//!
//! Invariants: identifiers of different kinds never have the same bytes, nor do different ones of a kind: the first byte
//! names the kind, numbers have a fixed width, texts their length before them. Signatures are compared in constant time.
//! A node is named as it names itself, by host and port: that holds across its registrations, so that it can check what
//! was signed before one whose answer it never got.
//!
//! Cost: signing or checking is one HMAC-SHA256, 0.21 µs for an ordinary container (release build, one core of the
//! development machine), whose identifier is two blocks of the hash as long as its node's host has at most 40 bytes. No
//! allocation once `scratch` has grown. It is done per grant and per node, never per frame.

use aws_lc_rs::hmac;

use crate::record::{
    ApplicationAttemptId, AttemptHandle, Container, ContainerId, ExecutionType, NodeId, Resource, TokenMac,
};

/// First byte of an AMRMToken's identifier.
const KIND_AM_RM: u8 = 1;
/// First byte of a ContainerToken's identifier.
const KIND_CONTAINER: u8 = 2;
/// First byte of an NMToken's identifier.
const KIND_NM: u8 = 3;

/// A secret with its number, ready for signing: the schedule of the key is worked out once.
#[derive(Clone, Debug)]
pub struct TokenKey {
    key_id: u32,
    key: hmac::Key,
}

impl TokenKey {
    /// A key from its number and its secret bytes; 32 random bytes are as good as more.
    #[must_use]
    pub fn new(key_id: u32, secret: &[u8]) -> Self {
        Self { key_id, key: hmac::Key::new(hmac::HMAC_SHA256, secret) }
    }

    /// Its number.
    #[must_use]
    pub const fn key_id(&self) -> u32 {
        self.key_id
    }

    fn sign(&self, identifier: &[u8]) -> TokenMac {
        let tag = hmac::sign(&self.key, identifier);
        let mut mac = [0; 32];
        mac.copy_from_slice(tag.as_ref());
        TokenMac { key_id: self.key_id, mac }
    }

    /// False also where the signature names another key: the caller looks the key up by that number.
    fn verify(&self, identifier: &[u8], token: &TokenMac) -> bool {
        token.key_id == self.key_id && hmac::verify(&self.key, identifier, &token.mac).is_ok()
    }
}

/// What a token is about; see the implementations.
pub trait Identifier {
    /// Appends the bytes that are signed.
    fn write(&self, out: &mut Vec<u8>);

    /// Signs it.
    #[must_use]
    fn sign(&self, key: &TokenKey, scratch: &mut Vec<u8>) -> TokenMac {
        scratch.clear();
        self.write(scratch);
        key.sign(scratch)
    }

    /// Whether `token` is its signature with this key.
    #[must_use]
    fn verify(&self, key: &TokenKey, token: &TokenMac, scratch: &mut Vec<u8>) -> bool {
        scratch.clear();
        self.write(scratch);
        key.verify(scratch, token)
    }
}

/// AMRMToken: who has it is the ApplicationMaster of this attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AmRmTokenIdentifier {
    /// The attempt.
    pub application_attempt_id: ApplicationAttemptId,
    /// Its handle.
    pub attempt_handle: AttemptHandle,
}

impl Identifier for AmRmTokenIdentifier {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(KIND_AM_RM);
        attempt(out, self.application_attempt_id);
        out.extend_from_slice(&self.attempt_handle.0.to_le_bytes());
    }
}

/// ContainerToken: this node may start this container, of this size, for this user, until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContainerTokenIdentifier<'a> {
    /// The container.
    pub container_id: ContainerId,
    /// The only node that may accept it.
    pub node_id: &'a NodeId,
    /// Its size.
    pub resource: &'a Resource,
    /// Its priority.
    pub priority: i32,
    /// Allocation request id of its ask; -1 for none.
    pub allocation_request_id: i64,
    /// Its version.
    pub version: u32,
    /// Its execution type.
    pub execution_type: ExecutionType,
    /// User to run as.
    pub user: &'a str,
    /// After this the node refuses to start it, milliseconds since 1970.
    pub expires_at_ms: u64,
}

impl<'a> ContainerTokenIdentifier<'a> {
    /// What the token of a grant is about; the node's name and the user are not in the grant.
    #[must_use]
    pub const fn of(container: &'a Container, node_id: &'a NodeId, user: &'a str) -> Self {
        Self {
            container_id: container.container_id,
            node_id,
            resource: &container.resource,
            priority: container.priority,
            allocation_request_id: container.allocation_request_id,
            version: container.version,
            execution_type: container.execution_type,
            user,
            expires_at_ms: container.expires_at_ms,
        }
    }
}

impl Identifier for ContainerTokenIdentifier<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(KIND_CONTAINER);
        attempt(out, self.container_id.application_attempt_id);
        out.extend_from_slice(&self.container_id.container_id.to_le_bytes());
        node(out, self.node_id);
        out.extend_from_slice(&self.resource.memory_mb.to_le_bytes());
        out.extend_from_slice(&self.resource.virtual_cores.to_le_bytes());
        length(out, self.resource.extended.len());
        for information in &self.resource.extended {
            text(out, &information.name);
            out.extend_from_slice(&information.value.to_le_bytes());
            text(out, &information.units);
        }
        out.extend_from_slice(&self.priority.to_le_bytes());
        out.extend_from_slice(&self.allocation_request_id.to_le_bytes());
        out.extend_from_slice(&self.version.to_le_bytes());
        out.push(self.execution_type as u8);
        text(out, self.user);
        out.extend_from_slice(&self.expires_at_ms.to_le_bytes());
    }
}

/// NMToken: the ApplicationMaster of this attempt may talk to this node, for this user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NmTokenIdentifier<'a> {
    /// The attempt.
    pub application_attempt_id: ApplicationAttemptId,
    /// The node.
    pub node_id: &'a NodeId,
    /// The application's user.
    pub user: &'a str,
}

impl Identifier for NmTokenIdentifier<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(KIND_NM);
        attempt(out, self.application_attempt_id);
        node(out, self.node_id);
        text(out, self.user);
    }
}

fn attempt(out: &mut Vec<u8>, id: ApplicationAttemptId) {
    out.extend_from_slice(&id.application_id.cluster_timestamp.to_le_bytes());
    out.extend_from_slice(&id.application_id.id.to_le_bytes());
    out.extend_from_slice(&id.attempt_id.to_le_bytes());
}

fn node(out: &mut Vec<u8>, id: &NodeId) {
    text(out, &id.host);
    out.extend_from_slice(&id.port.to_le_bytes());
}

fn text(out: &mut Vec<u8>, text: &str) {
    length(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

/// Lengths beyond 4 GiB do not occur: nothing that long passes a frame.
fn length(out: &mut Vec<u8>, length: usize) {
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
}

#[cfg(test)]
#[path = "token/tests.rs"]
mod tests;
