//! The keys of AMRM, container and NM tokens, and what the door signs and checks with them.
//! Owns: [`Keys`]. Called by: the other files of the door, on the scheduler's thread.
//! Does not: make keys or decide when they roll; it is told. What the identifiers' bytes are is the wire's.
//! Invariants: without a key nothing is signed with a secret and nothing is accepted; container and NM tokens are signed
//! with the key in force, because nodes may not have the next one yet; AMRM tokens with the next one as soon as there is
//! one, because only the ResourceManager checks them. Source: YARN AMRMTokenSecretManager.

use heddle_wire::record::{ApplicationAttemptId, AttemptHandle, Container, NodeId, TokenMac};
use heddle_wire::token::{
    AmRmTokenIdentifier, ContainerTokenIdentifier, Identifier, NmTokenIdentifier, TokenKey,
};

use crate::engine::event::KeyPair;
use crate::engine::scheduler::message::Attempt;

/// A key and the one that follows, ready for use.
#[derive(Debug, Default)]
struct Pair {
    current: Option<TokenKey>,
    next: Option<TokenKey>,
}

impl Pair {
    fn new(keys: &KeyPair) -> Self {
        let key = |key: &Option<(u32, Box<[u8]>)>| {
            key.as_ref().map(|(key_id, secret)| TokenKey::new(*key_id, secret))
        };
        Self { current: key(&keys.current), next: key(&keys.next) }
    }

    fn current_id(&self) -> Option<u32> {
        self.current.as_ref().map(TokenKey::key_id)
    }
}

/// Every key the door has.
#[derive(Debug, Default)]
pub(super) struct Keys {
    container: Pair,
    nm: Pair,
    am_rm: Pair,
    /// Identifiers are written here, one after the other.
    scratch: Vec<u8>,
}

/// What stands where there is no key, or no node: nobody accepts it.
const UNSIGNED: TokenMac = TokenMac { key_id: 0, mac: [0; 32] };

fn sign(key: Option<&TokenKey>, identifier: &impl Identifier, scratch: &mut Vec<u8>) -> TokenMac {
    key.map_or(UNSIGNED, |key| identifier.sign(key, scratch))
}

impl Keys {
    pub(super) fn new(container: &KeyPair, nm: &KeyPair, am_rm: &KeyPair) -> Self {
        Self {
            container: Pair::new(container),
            nm: Pair::new(nm),
            am_rm: Pair::new(am_rm),
            scratch: Vec::with_capacity(256),
        }
    }

    /// Number of the key NM tokens are signed with.
    pub(super) fn nm_key_id(&self) -> Option<u32> {
        self.nm.current_id()
    }

    /// Signs a grant. A node that is not known any more has no name to sign: nothing can be started there. Cost: one
    /// HMAC-SHA256, and the copy of the name.
    pub(super) fn sign_container(
        &mut self,
        container: &Container,
        node_id: Option<&NodeId>,
        user: &str,
    ) -> TokenMac {
        let Some(node_id) = node_id else { return UNSIGNED };
        let identifier = ContainerTokenIdentifier::of(container, node_id, user);
        sign(self.container.current.as_ref(), &identifier, &mut self.scratch)
    }

    /// Signs the right of an attempt to use a node.
    pub(super) fn sign_nm(
        &mut self,
        attempt_id: ApplicationAttemptId,
        node_id: &NodeId,
        user: &str,
    ) -> TokenMac {
        let identifier = NmTokenIdentifier { application_attempt_id: attempt_id, node_id, user };
        sign(self.nm.current.as_ref(), &identifier, &mut self.scratch)
    }

    fn am_rm_identifier(attempt_id: ApplicationAttemptId, attempt: Attempt) -> AmRmTokenIdentifier {
        AmRmTokenIdentifier { application_attempt_id: attempt_id, attempt_handle: AttemptHandle(attempt.0) }
    }

    /// Signs the token of an ApplicationMaster.
    pub(super) fn sign_am_rm(&mut self, attempt_id: ApplicationAttemptId, attempt: Attempt) -> TokenMac {
        let key = self.am_rm.next.as_ref().or(self.am_rm.current.as_ref());
        sign(key, &Self::am_rm_identifier(attempt_id, attempt), &mut self.scratch)
    }

    /// Number of the key a roll-over leads to, while one is pending.
    pub(super) fn next_am_rm_key_id(&self) -> Option<u32> {
        self.am_rm.next.as_ref().map(TokenKey::key_id)
    }

    /// Whether `token` proves that its sender is the ApplicationMaster of the attempt.
    pub(super) fn verify_am_rm(
        &mut self,
        attempt_id: ApplicationAttemptId,
        attempt: Attempt,
        token: &TokenMac,
    ) -> bool {
        let identifier = Self::am_rm_identifier(attempt_id, attempt);
        let keys = [&self.am_rm.current, &self.am_rm.next];
        keys.into_iter()
            .flatten()
            .filter(|key| key.key_id() == token.key_id)
            .any(|key| identifier.verify(key, token, &mut self.scratch))
    }
}
