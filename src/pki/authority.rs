//! The certificate authority of a cluster: makes itself, issues identities.
//! Owns: what stands in a certificate, and for how long. Called by: `heddle pki`, the load generator, tests; any thread.
//! Does not: keep a list of what it issued, or revoke: a leaf is short-lived, and the exclude list keeps a node out.
//! Invariant: it signs only certificates whose extended key usage fits their role.

use core::time::Duration;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData as _, SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::error::PkiError;
use super::identity::{Identity, check_validity};
use super::peer::{PeerIdentity, Role};
use super::{CA_CERTIFICATE_FILE, CA_KEY_FILE, SERVER_NAME, file};

/// How long an authority is valid, days: ten years. Replacing it means visiting every node.
pub const CA_VALIDITY_DAYS: u32 = 3_652;

/// How long an issued certificate is valid unless asked otherwise, days.
pub const LEAF_VALIDITY_DAYS: u32 = 365;

/// Longest validity of an issued certificate, days: the authority's own.
pub const LEAF_VALIDITY_DAYS_MAX: u32 = CA_VALIDITY_DAYS;

/// Certificates begin to be valid this long before they are made: clocks of a cluster differ.
const BACKDATE: Duration = Duration::from_secs(24 * 3600);

const DAY: Duration = Duration::from_secs(24 * 3600);

const REMEDY: &str = "heddle pki init";

/// A certificate authority with its key.
pub struct Authority {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl core::fmt::Debug for Authority {
    /// Shows the certificate's size, not the key.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Authority").field("certificate_size", &self.certificate.len()).finish_non_exhaustive()
    }
}

impl Authority {
    /// A new authority with a new P-256 key; `name` is shown to people only.
    ///
    /// # Errors
    /// [`PkiError::Crypto`] when the library refuses.
    pub fn create(name: &str) -> Result<Self, PkiError> {
        let key = new_key()?;
        let now = now();
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished_name(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_validity(&mut params, now.saturating_sub(BACKDATE), now + DAY * CA_VALIDITY_DAYS);
        let certificate = params
            .self_signed(&key)
            .map_err(|error| PkiError::crypto("make the authority's certificate", error))?
            .der()
            .clone();
        Ok(Self { certificate, issuer: Issuer::new(params, key) })
    }

    /// Writes certificate and key (mode 0600) into `dir`, which is made if it is not there.
    ///
    /// # Errors
    /// [`PkiError::Exists`] if there is an authority already; an input/output error.
    pub fn save(&self, dir: &Path) -> Result<(), PkiError> {
        let (certificate, key) = (dir.join(CA_CERTIFICATE_FILE), dir.join(CA_KEY_FILE));
        file::refuse_existing(&[&certificate, &key])?;
        file::create_directory(dir)?;
        file::write_new(&key, &file::pem("PRIVATE KEY", self.issuer.key().serialized_der()), 0o600)?;
        file::write_new(&certificate, &file::pem("CERTIFICATE", &self.certificate), 0o644)
    }

    /// Reads the authority of `dir`.
    ///
    /// # Errors
    /// A missing or unreadable file, a key that is not the certificate's, an authority that has expired.
    pub fn load(dir: &Path) -> Result<Self, PkiError> {
        let (certificate_path, key_path) = (dir.join(CA_CERTIFICATE_FILE), dir.join(CA_KEY_FILE));
        let certificate = file::read_certificates(&certificate_path, REMEDY)?.swap_remove(0);
        check_validity(&certificate_path, &certificate)?;
        let bad_key = |reason: String| PkiError::BadFile {
            path: key_path.clone(),
            wanted: "key of an authority (P-256, PKCS#8)",
            reason,
        };
        let PrivateKeyDer::Pkcs8(der) = file::read_key(&key_path, REMEDY)? else {
            return Err(bad_key("it is of another form".to_owned()));
        };
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ECDSA_P256_SHA256)
            .map_err(|error| bad_key(error.to_string()))?;
        let bad_certificate = |reason: String| PkiError::BadFile {
            path: certificate_path.clone(),
            wanted: "certificate of an authority",
            reason,
        };
        let (_, parsed) = x509_parser::parse_x509_certificate(&certificate)
            .map_err(|error| bad_certificate(error.to_string()))?;
        if !parsed.is_ca() {
            return Err(bad_certificate("it is not allowed to issue others".to_owned()));
        }
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(PkiError::KeyMismatch { certificate: certificate_path, key: key_path });
        }
        let issuer = Issuer::from_ca_cert_der(&certificate, key)
            .map_err(|error| bad_certificate(error.to_string()))?;
        Ok(Self { certificate, issuer })
    }

    /// A new identity, valid for [`LEAF_VALIDITY_DAYS`].
    ///
    /// # Errors
    /// [`PkiError::BadName`]; [`PkiError::Crypto`].
    pub fn issue(&self, role: Role, name: &str) -> Result<Identity, PkiError> {
        self.issue_for_days(role, name, LEAF_VALIDITY_DAYS)
    }

    /// A new identity, valid for `days` from now.
    ///
    /// # Errors
    /// As [`Authority::issue`]; [`PkiError::BadValidity`] outside 1 to [`LEAF_VALIDITY_DAYS_MAX`].
    pub fn issue_for_days(&self, role: Role, name: &str, days: u32) -> Result<Identity, PkiError> {
        if !(1..=LEAF_VALIDITY_DAYS_MAX).contains(&days) {
            return Err(PkiError::BadValidity { found: days, max: LEAF_VALIDITY_DAYS_MAX });
        }
        let now = now();
        self.issue_between(role, name, now.saturating_sub(BACKDATE), now + DAY * days)
    }

    /// A new identity, valid between two times since 1970. For tests of what happens outside them.
    ///
    /// # Errors
    /// As [`Authority::issue`].
    pub fn issue_between(
        &self,
        role: Role,
        name: &str,
        not_before: Duration,
        not_after: Duration,
    ) -> Result<Identity, PkiError> {
        let peer = PeerIdentity::new(role, name)?;
        let key = new_key()?;
        let name_error = |error: rcgen::Error| PkiError::crypto("put the name into a certificate", error);
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished_name(name);
        params.subject_alt_names = vec![SanType::URI(peer.uri().try_into().map_err(name_error)?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if role == Role::ResourceManager {
            params.subject_alt_names.push(SanType::DnsName(SERVER_NAME.try_into().map_err(name_error)?));
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, not_before, not_after);
        let certificate = params
            .signed_by(&key, &self.issuer)
            .map_err(|error| PkiError::crypto("sign a certificate", error))?
            .der()
            .clone();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Ok(Identity::from_parts(peer, vec![certificate], key, vec![self.certificate.clone()]))
    }

    /// The authority's certificate.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }
}

fn new_key() -> Result<KeyPair, PkiError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
        .map_err(|error| PkiError::crypto("make a P-256 key", error))
}

fn distinguished_name(name: &str) -> DistinguishedName {
    let mut distinguished_name = DistinguishedName::new();
    // X.520 bounds a common name to 64 characters; the whole name is in the URI.
    distinguished_name.push(DnType::CommonName, name.chars().take(64).collect::<String>());
    distinguished_name.push(DnType::OrganizationName, "Heddle");
    distinguished_name
}

fn set_validity(params: &mut CertificateParams, not_before: Duration, not_after: Duration) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    // Whole seconds: X.509 times have no more.
    params.not_before = epoch + Duration::from_secs(not_before.as_secs());
    params.not_after = epoch + Duration::from_secs(not_after.as_secs());
}

/// Wall-clock time since 1970.
fn now() -> Duration {
    Duration::try_from(jiff::Timestamp::now().as_duration()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_saved_once_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("pki");
        let authority = Authority::create("test").unwrap();
        authority.save(&dir).unwrap();
        let again = Authority::load(&dir).unwrap();
        assert_eq!(again.certificate(), authority.certificate());
        let identity = again.issue(Role::Node, "n1").unwrap();
        identity.check_chain(Path::new("n1.pem"), Path::new("ca.pem")).unwrap();

        let error = Authority::create("other").unwrap().save(&dir).unwrap_err();
        assert!(matches!(&error, PkiError::Exists { path } if path.ends_with("ca.pem")), "{error}");
        assert_eq!(Authority::load(&dir).unwrap().certificate(), authority.certificate());
    }

    #[test]
    fn a_missing_authority_says_how_to_make_one() {
        let dir = tempfile::tempdir().unwrap();
        let text = Authority::load(dir.path()).unwrap_err().to_string();
        assert!(text.contains("ca.pem") && text.contains("heddle pki init"), "{text}");
    }

    #[test]
    fn a_foreign_key_or_a_leaf_is_not_an_authority() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        Authority::create("one").unwrap().save(&one).unwrap();
        Authority::create("two").unwrap().save(&two).unwrap();
        std::fs::copy(two.join(CA_KEY_FILE), one.join(CA_KEY_FILE)).unwrap();
        assert!(matches!(Authority::load(&one), Err(PkiError::KeyMismatch { .. })));

        let leaf = Authority::load(&two).unwrap().issue(Role::Client, "c").unwrap();
        let files = leaf.save(&dir.path().join("leaf"), "c").unwrap();
        std::fs::copy(&files.certificate, two.join(CA_CERTIFICATE_FILE)).unwrap();
        std::fs::copy(&files.key, two.join(CA_KEY_FILE)).unwrap();
        let error = Authority::load(&two).unwrap_err();
        assert!(matches!(error, PkiError::BadFile { .. }), "{error}");
    }

    #[test]
    fn names_and_validities_outside_their_range_are_refused() {
        let authority = Authority::create("test").unwrap();
        for days in [0, LEAF_VALIDITY_DAYS_MAX + 1] {
            let error = authority.issue_for_days(Role::Node, "n1", days).unwrap_err();
            assert!(matches!(error, PkiError::BadValidity { .. }), "{error}");
        }
        assert!(matches!(authority.issue(Role::Admin, "*"), Err(PkiError::BadName { .. })));
    }

    proptest::proptest! {
        /// A peer chooses its certificate before anybody has checked it.
        #[test]
        fn a_certificate_with_any_bytes_changed_gives_an_identity_or_an_error(
            changes in proptest::collection::vec((0usize..800, proptest::num::u8::ANY), 1..8),
            end in 0usize..800,
        ) {
            static CERTIFICATE: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
            let certificate = CERTIFICATE.get_or_init(|| {
                let identity = Authority::create("test").unwrap().issue(Role::Node, "*.rack7").unwrap();
                identity.certificates()[0].to_vec()
            });
            let mut bytes = certificate.clone();
            for (at, byte) in changes {
                let at = at % bytes.len();
                bytes[at] = byte;
            }
            for bytes in [&bytes[..], &bytes[..end.min(bytes.len())]] {
                if let Ok(peer) = PeerIdentity::from_certificate(&CertificateDer::from(bytes)) {
                    proptest::prop_assert_eq!(&PeerIdentity::from_uri(&peer.uri()).unwrap(), &peer);
                }
            }
        }
    }

    #[test]
    fn certificates_say_what_was_asked() {
        let authority = Authority::create("test").unwrap();
        for (role, name) in [
            (Role::Node, "*.rack7"),
            (Role::Admin, "ops"),
            (Role::Client, "c"),
            (Role::ResourceManager, "rm1"),
        ] {
            let identity = authority.issue(role, name).unwrap();
            let peer = PeerIdentity::from_certificate(&identity.certificates()[0]).unwrap();
            assert_eq!((peer.role, peer.name.as_str()), (role, name));
            assert_eq!(&peer, identity.peer());
        }
        let error = PeerIdentity::from_certificate(authority.certificate()).unwrap_err();
        assert!(matches!(error, PkiError::NoIdentity { found: 0 }), "{error}");
    }
}
