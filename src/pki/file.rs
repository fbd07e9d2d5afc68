//! Certificate and key files: PEM text, private modes, nothing overwritten.
//! Owns: how a file of a PKI directory is written and read. Called by: authority and identity, on any thread.
//! Does not: interpret certificates. Invariant: a key file is created with mode 0600, never widened afterwards.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::error::PkiError;

/// Largest file read, bytes: a chain of many certificates is a few KiB.
const FILE_SIZE_MAX: u64 = 1024 * 1024;

/// What was written where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedFiles {
    /// The certificate, with the chain up to the authority.
    pub certificate: PathBuf,
    /// The key, mode 0600.
    pub key: PathBuf,
    /// The authority's certificate.
    pub ca: PathBuf,
}

/// Creates a directory and its parents, closed to others; one that exists is left as it is.
pub(super) fn create_directory(path: &Path) -> Result<(), PkiError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| PkiError::Write { path: path.to_owned(), source })
}

/// # Errors
/// [`PkiError::Exists`] if one of the files is there, before anything was written.
pub(super) fn refuse_existing(paths: &[&Path]) -> Result<(), PkiError> {
    match paths.iter().find(|path| path.symlink_metadata().is_ok()) {
        Some(path) => Err(PkiError::Exists { path: path.to_path_buf() }),
        None => Ok(()),
    }
}

/// Writes a new file and makes it durable.
pub(super) fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), PkiError> {
    let write = || {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => PkiError::Exists { path: path.to_owned() },
        _ => PkiError::Write { path: path.to_owned(), source },
    })
}

fn read(path: &Path, remedy: &'static str) -> Result<Vec<u8>, PkiError> {
    let size = fs::metadata(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => PkiError::Missing { path: path.to_owned(), remedy },
        _ => PkiError::Read { path: path.to_owned(), source },
    })?;
    if size.len() > FILE_SIZE_MAX {
        let reason = format!("it has {} bytes, accepted are at most {FILE_SIZE_MAX}", size.len());
        return Err(PkiError::BadFile { path: path.to_owned(), wanted: "PEM text", reason });
    }
    fs::read(path).map_err(|source| PkiError::Read { path: path.to_owned(), source })
}

/// Every certificate of a file; at least one.
pub(super) fn read_certificates(
    path: &Path,
    remedy: &'static str,
) -> Result<Vec<CertificateDer<'static>>, PkiError> {
    let wanted = "certificate in PEM form";
    let bytes = read(path, remedy)?;
    let certificates = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => {
            let reason = "no section BEGIN CERTIFICATE".to_owned();
            Err(PkiError::BadFile { path: path.to_owned(), wanted, reason })
        }
        Err(error) => Err(PkiError::BadFile { path: path.to_owned(), wanted, reason: error.to_string() }),
    }
}

/// The first private key of a file.
pub(super) fn read_key(path: &Path, remedy: &'static str) -> Result<PrivateKeyDer<'static>, PkiError> {
    PrivateKeyDer::from_pem_slice(&read(path, remedy)?).map_err(|error| PkiError::BadFile {
        path: path.to_owned(),
        wanted: "private key in PEM form",
        reason: error.to_string(),
    })
}

/// PEM text of DER bytes (RFC 7468: base64 in lines of 64).
pub(super) fn pem(label: &str, der: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in der.chunks(48) {
        for group in line.chunks(3) {
            let at = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
            let bits = at(0) << 16 | at(1) << 8 | at(2);
            for (index, shift) in [18, 12, 6, 0].into_iter().enumerate() {
                let digit = ALPHABET[(bits >> shift & 63) as usize] as char;
                text.push(if index <= group.len() { digit } else { '=' });
            }
        }
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pem_text_reads_back_at_every_length() {
        for size in 1..200usize {
            let der = (0..size).map(|index| (index * 37 % 251) as u8).collect::<Vec<_>>();
            let text = pem("CERTIFICATE", &der);
            assert!(text.lines().all(|line| line.len() <= 64));
            assert_eq!(CertificateDer::from_pem_slice(text.as_bytes()).unwrap().as_ref(), der);
        }
    }

    #[test]
    fn key_files_are_private_and_never_overwritten() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k.key");
        write_new(&path, "one", 0o600).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(write_new(&path, "two", 0o600), Err(PkiError::Exists { .. })));
        assert!(matches!(refuse_existing(&[&path]), Err(PkiError::Exists { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
    }
}
