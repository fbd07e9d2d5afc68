//! What can go wrong with certificates and keys, each with the file and what to do about it.
//! Owns: [`PkiError`]. Called by: everything in `pki`, and those who show it. Thread: any.
//! Does not: carry key material.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why a certificate, key or authority cannot be made, read or used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PkiError {
    /// A file is not there.
    #[error("{} does not exist; make it with `{remedy}`", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// The command that makes such a file.
        remedy: &'static str,
    },
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file or directory cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file that would be overwritten.
    #[error("{} already exists and is not overwritten; remove it or choose another directory", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A file without what it should hold.
    #[error("{} holds no {wanted}: {reason}", path.display())]
    BadFile {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        wanted: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A certificate and a key that do not belong together.
    #[error("the key {} does not belong to the certificate {}; use the pair that was issued together", key.display(), certificate.display())]
    KeyMismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// A certificate outside its time.
    #[error("{} is valid from {not_before} to {not_after}, and now it is {now}; issue a new one with `heddle pki issue`", path.display())]
    OutsideValidity {
        /// The certificate's file.
        path: PathBuf,
        /// First moment of validity, UTC.
        not_before: String,
        /// Last moment of validity, UTC.
        not_after: String,
        /// The clock's time, UTC.
        now: String,
    },
    /// A certificate that another authority issued.
    #[error("{} was not issued by the authority in {}: {reason}", certificate.display(), ca.display())]
    WrongAuthority {
        /// The certificate's file.
        certificate: PathBuf,
        /// The authority's file.
        ca: PathBuf,
        /// What the verifier said.
        reason: String,
    },
    /// Bytes that are not a certificate.
    #[error("not an X.509 certificate: {reason}")]
    BadCertificate {
        /// What the parser said.
        reason: String,
    },
    /// A certificate that does not say who its holder is.
    #[error("certificate has {found} URI names heddle://<role>/<name>, accepted is exactly one")]
    NoIdentity {
        /// How many it has.
        found: usize,
    },
    /// A URI name that is not of our form.
    #[error("certificate name {uri:?} is not heddle://<role>/<name>: {reason}")]
    BadUri {
        /// The URI, shortened.
        uri: String,
        /// Which part is wrong.
        reason: &'static str,
    },
    /// A role that does not exist.
    #[error("role is {found:?}, accepted are resourcemanager, node, client, admin")]
    BadRole {
        /// What stands there, shortened.
        found: String,
    },
    /// A name that cannot go into a certificate.
    #[error("name is {found:?}, accepted are {accepted}")]
    BadName {
        /// What stands there, shortened.
        found: String,
        /// The form accepted.
        accepted: &'static str,
    },
    /// A validity outside the accepted range.
    #[error("validity is {found} days, accepted are 1 to {max}")]
    BadValidity {
        /// Days asked for.
        found: u32,
        /// Most accepted.
        max: u32,
    },
    /// The certificate library refused.
    #[error("cannot {what}: {reason}")]
    Crypto {
        /// What was being done.
        what: &'static str,
        /// What the library said.
        reason: String,
    },
}

impl PkiError {
    pub(super) fn crypto(what: &'static str, reason: impl core::fmt::Display) -> Self {
        Self::Crypto { what, reason: reason.to_string() }
    }
}

/// The first characters of a text that somebody else chose, for an error message.
pub(super) fn shorten(text: &str) -> String {
    let end = text.floor_char_boundary(80);
    if end < text.len() { format!("{}…", &text[..end]) } else { text.to_owned() }
}
