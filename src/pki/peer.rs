//! Who a peer is: role and name, read once per connection from the URI name in its certificate.
//! Owns: [`Role`], [`PeerIdentity`], the form of a name. Called by: transport when a connection opens, `heddle pki`.
//! Does not: verify signatures (TLS has done so before), or say which opcodes a role may send.
//! Invariant: the id is a function of the URI alone, so it is the same for every certificate issued to the same name.

use core::fmt;
use core::str::FromStr;

use aws_lc_rs::digest;
use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;

use super::error::{PkiError, shorten};
use crate::engine::batch::PeerId;

/// Longest name in a certificate, bytes: that of a host name (RFC 1035).
pub const NAME_MAX: usize = heddle_wire::limits::HOST_MAX;

const SCHEME: &str = "heddle://";

/// What a certificate's holder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// A ResourceManager.
    ResourceManager,
    /// A NodeManager, or a relay that speaks for several.
    Node,
    /// Whoever may look and submit.
    Client,
    /// Whoever may administrate.
    Admin,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::ResourceManager, Self::Node, Self::Client, Self::Admin];

    /// The text form, as in certificates and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ResourceManager => "resourcemanager",
            Self::Node => "node",
            Self::Client => "client",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = PkiError;

    /// Reads the text form exactly; certificates have one spelling only.
    fn from_str(text: &str) -> Result<Self, PkiError> {
        Self::ALL
            .into_iter()
            .find(|role| role.name() == text)
            .ok_or_else(|| PkiError::BadRole { found: shorten(text) })
    }
}

/// Who a peer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity {
    /// What it is.
    pub role: Role,
    /// Its name. For a node: its host, or a pattern with one `*` for a relay that speaks for many hosts.
    pub name: String,
    /// The same in 64 bits, for the engine.
    pub id: PeerId,
}

impl PeerIdentity {
    /// The identity with this role and name.
    ///
    /// # Errors
    /// [`PkiError::BadName`] for a name that cannot stand in a certificate of that role.
    pub fn new(role: Role, name: &str) -> Result<Self, PkiError> {
        check_name(role, name)?;
        let uri = format!("{SCHEME}{role}/{name}");
        let hash = digest::digest(&digest::SHA256, uri.as_bytes());
        let mut first = [0; 8];
        first.iter_mut().zip(hash.as_ref()).for_each(|(to, from)| *to = *from);
        Ok(Self { role, name: name.to_owned(), id: PeerId(u64::from_le_bytes(first)) })
    }

    /// Reads the identity out of a certificate, whose signature TLS has checked before.
    ///
    /// # Errors
    /// Bytes that are not a certificate; not exactly one `heddle://` name; a name that is not of its form.
    pub fn from_certificate(der: &CertificateDer<'_>) -> Result<Self, PkiError> {
        let bad = |reason: &dyn fmt::Display| PkiError::BadCertificate { reason: reason.to_string() };
        let (_, certificate) = x509_parser::parse_x509_certificate(der).map_err(|error| bad(&error))?;
        let names = certificate.subject_alternative_name().map_err(|error| bad(&error))?;
        let mut uris =
            names.iter().flat_map(|extension| &extension.value.general_names).filter_map(|name| match name {
                GeneralName::URI(uri) if uri.starts_with(SCHEME) => Some(*uri),
                _ => None,
            });
        match (uris.next(), uris.count()) {
            (Some(uri), 0) => Self::from_uri(uri),
            (None, _) => Err(PkiError::NoIdentity { found: 0 }),
            (Some(_), more) => Err(PkiError::NoIdentity { found: more + 1 }),
        }
    }

    /// Reads the URI form, `heddle://<role>/<name>`.
    ///
    /// # Errors
    /// A text of another form.
    pub fn from_uri(uri: &str) -> Result<Self, PkiError> {
        let bad = |reason| PkiError::BadUri { uri: shorten(uri), reason };
        let rest = uri.strip_prefix(SCHEME).ok_or_else(|| bad("another scheme"))?;
        let (role, name) = rest.split_once('/').ok_or_else(|| bad("no name after the role"))?;
        Self::new(role.parse()?, name)
    }

    /// The URI form, as it stands in the certificate.
    #[must_use]
    pub fn uri(&self) -> String {
        format!("{SCHEME}{}/{}", self.role, self.name)
    }

    /// Whether this peer may speak for the NodeManager of `host`: only a node, and only where its name is the host or
    /// a pattern for it. Letter case does not count, as in DNS.
    #[must_use]
    pub fn allows_host(&self, host: &str) -> bool {
        if self.role != Role::Node || host.is_empty() {
            return false;
        }
        let (name, host) = (self.name.as_bytes(), host.as_bytes());
        match self.name.split_once('*') {
            None => name.eq_ignore_ascii_case(host),
            Some((before, after)) => {
                let (before, after) = (before.as_bytes(), after.as_bytes());
                // The length rule keeps the two ends from overlapping: `ab*ba` is not a pattern for `aba`.
                host.len() >= before.len() + after.len()
                    && host[..before.len()].eq_ignore_ascii_case(before)
                    && host[host.len() - after.len()..].eq_ignore_ascii_case(after)
            }
        }
    }
}

impl fmt::Display for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.role, self.name)
    }
}

/// Letters, digits and the few marks that host and user names need: nothing that has a meaning in a URI, a log line
/// or a path.
fn check_name(role: Role, name: &str) -> Result<(), PkiError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@:".contains(&byte);
    let stars = name.bytes().filter(|byte| *byte == b'*').count();
    let stars_max = usize::from(role == Role::Node);
    let is_accepted = (1..=NAME_MAX).contains(&name.len())
        && name.bytes().all(|byte| is_plain(byte) || byte == b'*')
        && stars <= stars_max
        && !name.starts_with('.');
    if is_accepted {
        return Ok(());
    }
    let accepted = if role == Role::Node {
        "1 to 253 letters, digits and . _ - @ :, not beginning with a dot, with at most one * standing for any text"
    } else {
        "1 to 253 letters, digits and . _ - @ :, not beginning with a dot"
    };
    Err(PkiError::BadName { found: shorten(name), accepted })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> PeerIdentity {
        PeerIdentity::new(Role::Node, name).unwrap()
    }

    #[test]
    fn roles_have_one_spelling() {
        for role in Role::ALL {
            assert_eq!(role.name().parse::<Role>().unwrap(), role);
        }
        for wrong in ["", "Node", "nodemanager", "admin ", "rm"] {
            let error = wrong.parse::<Role>().unwrap_err();
            assert!(matches!(error, PkiError::BadRole { .. }), "{wrong:?}: {error}");
        }
    }

    #[test]
    fn uris_round_trip_and_others_are_refused() {
        for uri in ["heddle://node/n1.rack7", "heddle://admin/ops@example", "heddle://node/*"] {
            assert_eq!(PeerIdentity::from_uri(uri).unwrap().uri(), uri);
        }
        for wrong in [
            "http://node/n1",
            "heddle://node",
            "heddle://node/",
            "heddle://root/n1",
            "heddle://NODE/n1",
            "heddle://node/a b",
            "heddle://node/a/b",
            "heddle://node/../ca",
            "heddle://node/*.*",
            "heddle://admin/*",
            "heddle://client/ü",
        ] {
            assert!(PeerIdentity::from_uri(wrong).is_err(), "{wrong}");
        }
        let long = format!("heddle://node/{}", "n".repeat(NAME_MAX + 1));
        assert!(PeerIdentity::from_uri(&long).unwrap_err().to_string().len() < 300);
    }

    #[test]
    fn ids_are_the_first_eight_bytes_of_the_hash_of_the_uri() {
        let hash = digest::digest(&digest::SHA256, b"heddle://node/n1");
        let wanted = u64::from_le_bytes(hash.as_ref()[..8].try_into().unwrap());
        assert_eq!(node("n1").id, PeerId(wanted));
        assert_ne!(node("n1").id, node("n2").id);
        assert_ne!(node("n1").id, PeerIdentity::new(Role::Client, "n1").unwrap().id);
    }

    #[test]
    fn a_node_speaks_for_its_host_or_its_pattern_only() {
        assert!(node("n1").allows_host("n1"));
        assert!(node("N1.Example").allows_host("n1.example"));
        assert!(!node("n1").allows_host("n10"));
        assert!(!node("n1").allows_host(""));
        assert!(node("*").allows_host("anything"));
        assert!(!node("*").allows_host(""));
        assert!(node("*.rack7").allows_host("n1.rack7"));
        assert!(!node("*.rack7").allows_host("n1.rack70"));
        assert!(node("gpu-*").allows_host("gpu-"));
        assert!(node("gpu-*").allows_host("GPU-17"));
        assert!(!node("gpu-*").allows_host("xgpu-17"));
        assert!(node("ab*ba").allows_host("abba"));
        assert!(!node("ab*ba").allows_host("aba"));
        // A host of several bytes per letter is compared by bytes and never cut inside a letter's string slice.
        assert!(!node("gpu-*").allows_host("üüüüü"));
    }

    #[test]
    fn only_nodes_speak_for_hosts() {
        for role in [Role::ResourceManager, Role::Client, Role::Admin] {
            assert!(!PeerIdentity::new(role, "n1").unwrap().allows_host("n1"));
        }
    }

    #[test]
    fn bytes_that_are_no_certificate_are_refused() {
        for bytes in [&b""[..], b"hello", &[0x30, 0x82, 0xff, 0xff], &[0; 600]] {
            let error = PeerIdentity::from_certificate(&CertificateDer::from(bytes)).unwrap_err();
            assert!(matches!(error, PkiError::BadCertificate { .. }), "{error}");
        }
    }
}
