//! Trust: the certificate authority, the identities it issues, and who a peer is by its certificate.
//! Owns: file layout of a PKI directory, certificate contents, the TLS configuration of both sides.
//! Called by: `heddle pki`, transport, clients, the load generator, tests; on any thread, never per frame.
//! Does not: decide what a role may do (transport does, by opcode), open sockets, or renew certificates.
//!
//! Invariants: every certificate carries exactly one name `heddle://<role>/<name>` as URI SAN; only a ResourceManager's
//! certificate carries the DNS name [`SERVER_NAME`] and may act as a server, so no other role can stand in for it.

mod authority;
mod error;
mod file;
mod identity;
mod peer;

pub use authority::{Authority, CA_VALIDITY_DAYS, LEAF_VALIDITY_DAYS, LEAF_VALIDITY_DAYS_MAX};
pub use error::PkiError;
pub use file::SavedFiles;
pub use identity::{Identity, install_crypto_provider};
pub use peer::{NAME_MAX, PeerIdentity, Role};

/// DNS name of every ResourceManager's certificate, and the server name every client asks for.
///
/// One fixed name instead of host names: a client trusts the role, wherever it runs, so moving a ResourceManager (or a
/// standby taking over) needs no new certificate. The role cannot be borrowed: the authority puts this name into
/// certificates of [`Role::ResourceManager`] only.
pub const SERVER_NAME: &str = "heddle-resourcemanager";

/// File name of the authority's certificate in a PKI directory.
pub const CA_CERTIFICATE_FILE: &str = "ca.pem";

/// File name of the authority's key in a PKI directory.
pub const CA_KEY_FILE: &str = "ca.key";
