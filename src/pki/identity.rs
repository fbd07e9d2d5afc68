//! An identity: certificate, key and the authority it trusts, as files and as TLS configuration of either side.
//! Owns: the TLS rules (1.3 only, both sides authenticated, no resumption, AES-128-GCM first). Called by: transport,
//! clients, the load generator, `heddle pki`; on any thread, once per endpoint.
//! Does not: set QUIC transport limits, or know which frames a role may send.
//! Invariant: neither side of a connection is ever configured without verifying the other.

use std::path::Path;
use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::error::PkiError;
use super::peer::PeerIdentity;
use super::{CA_CERTIFICATE_FILE, SavedFiles, file};

const REMEDY: &str = "heddle pki issue";

/// A certificate with its key, and the authority it trusts.
pub struct Identity {
    peer: PeerIdentity,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    roots: Vec<CertificateDer<'static>>,
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self {
            peer: self.peer.clone(),
            chain: self.chain.clone(),
            key: self.key.clone_key(),
            roots: self.roots.clone(),
        }
    }
}

impl core::fmt::Debug for Identity {
    /// Shows who it is, not the key.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Identity").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl Identity {
    pub(super) fn from_parts(
        peer: PeerIdentity,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        roots: Vec<CertificateDer<'static>>,
    ) -> Self {
        Self { peer, chain, key, roots }
    }

    /// A secret that only the holder of this identity's key can make, the same at every start. `purpose` keeps secrets
    /// for different uses apart.
    #[must_use]
    pub fn derive_secret(&self, purpose: &str) -> [u8; 32] {
        let key = ::aws_lc_rs::hmac::Key::new(::aws_lc_rs::hmac::HMAC_SHA256, self.key.secret_der());
        let mut secret = [0; 32];
        // The tag of this algorithm has 32 bytes.
        secret.copy_from_slice(::aws_lc_rs::hmac::sign(&key, purpose.as_bytes()).as_ref());
        secret
    }

    /// Who this identity says it is.
    #[must_use]
    pub fn peer(&self) -> &PeerIdentity {
        &self.peer
    }

    /// The certificate, then the chain above it without the authority.
    #[must_use]
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// Writes `<stem>.pem`, `<stem>.key` (mode 0600) and the authority's `ca.pem` into `dir`.
    ///
    /// # Errors
    /// [`PkiError::Exists`] if certificate or key are there, or the directory holds another authority's certificate;
    /// an input/output error.
    pub fn save(&self, dir: &Path, stem: &str) -> Result<SavedFiles, PkiError> {
        let files = SavedFiles {
            certificate: dir.join(format!("{stem}.pem")),
            key: dir.join(format!("{stem}.key")),
            ca: dir.join(CA_CERTIFICATE_FILE),
        };
        file::refuse_existing(&[&files.certificate, &files.key])?;
        file::create_directory(dir)?;
        if files.ca.symlink_metadata().is_err() {
            file::write_new(&files.ca, &pem_chain(&self.roots), 0o644)?;
        } else if file::read_certificates(&files.ca, "heddle pki init")? != self.roots {
            return Err(PkiError::Exists { path: files.ca });
        }
        file::write_new(&files.key, &file::pem("PRIVATE KEY", self.key.secret_der()), 0o600)?;
        file::write_new(&files.certificate, &pem_chain(&self.chain), 0o644)?;
        Ok(files)
    }

    /// Reads an identity and checks that its three files belong together and are valid now.
    ///
    /// # Errors
    /// What is wrong, with the file and what to do.
    pub fn load(certificate: &Path, key: &Path, ca: &Path) -> Result<Self, PkiError> {
        let roots = file::read_certificates(ca, "heddle pki init")?;
        let chain = file::read_certificates(certificate, REMEDY)?;
        let key_der = file::read_key(key, REMEDY)?;
        let leaf = chain.first().ok_or(PkiError::NoIdentity { found: 0 })?;
        let peer = PeerIdentity::from_certificate(leaf).map_err(|error| PkiError::BadFile {
            path: certificate.to_owned(),
            wanted: "Heddle certificate",
            reason: error.to_string(),
        })?;
        check_validity(certificate, leaf)?;
        let pair = CertifiedKey::from_der(chain.clone(), key_der.clone_key(), &provider());
        match pair {
            Ok(_) => {}
            Err(rustls::Error::InconsistentKeys(_)) => {
                return Err(PkiError::KeyMismatch {
                    certificate: certificate.to_owned(),
                    key: key.to_owned(),
                });
            }
            Err(error) => {
                let reason = error.to_string();
                return Err(PkiError::BadFile { path: key.to_owned(), wanted: "usable private key", reason });
            }
        }
        let identity = Self { peer, chain, key: key_der, roots };
        identity.check_chain(certificate, ca)?;
        Ok(identity)
    }

    /// Whether the authority this identity trusts has also issued it: otherwise no peer would accept it.
    pub(super) fn check_chain(&self, certificate: &Path, ca: &Path) -> Result<(), PkiError> {
        let verifier = self.client_verifier()?;
        let (leaf, above) = self.chain.split_first().ok_or(PkiError::NoIdentity { found: 0 })?;
        verifier.verify_client_cert(leaf, above, UnixTime::now()).map(|_| ()).map_err(|error| {
            let reason = error.to_string();
            PkiError::WrongAuthority { certificate: certificate.to_owned(), ca: ca.to_owned(), reason }
        })
    }

    /// TLS for the accepting side: a peer without a certificate of our authority does not get in.
    ///
    /// # Errors
    /// [`PkiError::Crypto`], for a key or certificate the library does not accept.
    pub fn server_crypto(&self) -> Result<QuicServerConfig, PkiError> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| PkiError::crypto("choose TLS 1.3", error))?
            .with_client_cert_verifier(self.client_verifier()?)
            .with_single_cert(self.chain.clone(), self.key.clone_key())
            .map_err(|error| PkiError::crypto("use the certificate", error))?;
        config.alpn_protocols = vec![heddle_wire::ALPN.to_vec()];
        // Tickets would let a peer resume without showing its certificate again, and cost memory per connection.
        config.send_tls13_tickets = 0;
        QuicServerConfig::try_from(config).map_err(|error| PkiError::crypto("use TLS for QUIC", error))
    }

    /// TLS for the connecting side: the peer must be a ResourceManager of our authority
    /// ([`SERVER_NAME`](super::SERVER_NAME) is the name to connect with).
    ///
    /// # Errors
    /// [`PkiError::Crypto`], for a key or certificate the library does not accept.
    pub fn client_crypto(&self) -> Result<QuicClientConfig, PkiError> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| PkiError::crypto("choose TLS 1.3", error))?
            .with_root_certificates(self.root_store()?)
            .with_client_auth_cert(self.chain.clone(), self.key.clone_key())
            .map_err(|error| PkiError::crypto("use the certificate", error))?;
        config.alpn_protocols = vec![heddle_wire::ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        QuicClientConfig::try_from(config).map_err(|error| PkiError::crypto("use TLS for QUIC", error))
    }

    fn client_verifier(&self) -> Result<Arc<dyn ClientCertVerifier>, PkiError> {
        WebPkiClientVerifier::builder_with_provider(self.root_store()?, provider())
            .build()
            .map_err(|error| PkiError::crypto("trust the authority", error))
    }

    fn root_store(&self) -> Result<Arc<RootCertStore>, PkiError> {
        let mut store = RootCertStore::empty();
        for root in &self.roots {
            store.add(root.clone()).map_err(|error| PkiError::crypto("trust the authority", error))?;
        }
        Ok(Arc::new(store))
    }
}

/// Makes aws-lc-rs the process's provider for whoever asks rustls without naming one. Calling it again does nothing.
pub fn install_crypto_provider() {
    // An error means that somebody has installed one before, which is what we want.
    let _ = aws_lc_rs::default_provider().install_default();
}

/// aws-lc-rs with AES-128-GCM first: 3–8 % less handshake CPU than AES-256 on AES-NI, the same in bulk.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites = vec![
        aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
        aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384,
        aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ];
    Arc::new(provider)
}

/// # Errors
/// [`PkiError::OutsideValidity`] when the certificate of `path` is not valid now.
pub(super) fn check_validity(path: &Path, certificate: &CertificateDer<'_>) -> Result<(), PkiError> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).map_err(|error| {
        PkiError::BadFile { path: path.to_owned(), wanted: "X.509 certificate", reason: error.to_string() }
    })?;
    let (from, to) = (parsed.validity().not_before.timestamp(), parsed.validity().not_after.timestamp());
    let now = jiff::Timestamp::now();
    if (from..=to).contains(&now.as_second()) {
        return Ok(());
    }
    let text = |second: i64| {
        jiff::Timestamp::from_second(second).map_or_else(|_| second.to_string(), |time| time.to_string())
    };
    Err(PkiError::OutsideValidity {
        path: path.to_owned(),
        not_before: text(from),
        not_after: text(to),
        now: text(now.as_second()),
    })
}

fn pem_chain(chain: &[CertificateDer<'_>]) -> String {
    chain.iter().map(|certificate| file::pem("CERTIFICATE", certificate)).collect()
}

#[cfg(test)]
mod tests;
