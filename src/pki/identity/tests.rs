//! Identities against each other: real handshakes over loopback, and files that do not fit together.

use core::time::Duration;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};

use super::*;
use crate::pki::{Authority, Role, SERVER_NAME};

fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// Connects `client` to `server`; who the server saw, or what the side that refused said.
fn shake_hands(server: &Identity, client: &Identity, name: &str) -> Result<PeerIdentity, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let config = quinn::ServerConfig::with_crypto(Arc::new(server.server_crypto().unwrap()));
        let accepting = quinn::Endpoint::server(config, loopback()).unwrap();
        let mut connecting = quinn::Endpoint::client(loopback()).unwrap();
        connecting
            .set_default_client_config(quinn::ClientConfig::new(Arc::new(client.client_crypto().unwrap())));
        let address = accepting.local_addr().unwrap();
        let accepted = async {
            let connection = accepting.accept().await.unwrap().await.map_err(|error| error.to_string())?;
            let certificates = connection.peer_identity().unwrap();
            let certificates = certificates.downcast::<Vec<CertificateDer<'static>>>().unwrap();
            PeerIdentity::from_certificate(&certificates[0]).map_err(|error| error.to_string())
        };
        let connected = async {
            let connection = connecting.connect(address, name).unwrap().await.map_err(|e| e.to_string())?;
            // The client is done before the server has seen its certificate: wait for the server's verdict.
            match connection.closed().await {
                quinn::ConnectionError::ApplicationClosed(_) => Ok(()),
                error => Err(error.to_string()),
            }
        };
        let (accepted, connected) = tokio::join!(accepted, connected);
        match (accepted, connected) {
            (Ok(peer), Ok(())) => Ok(peer),
            (accepted, connected) => Err(format!("server: {accepted:?}, client: {connected:?}")),
        }
    })
}

#[test]
fn both_sides_know_each_other() {
    let authority = Authority::create("test").unwrap();
    let server = authority.issue(Role::ResourceManager, "rm1").unwrap();
    let node = authority.issue(Role::Node, "n1").unwrap();
    let peer = shake_hands(&server, &node, SERVER_NAME).unwrap();
    assert_eq!(&peer, node.peer());
}

#[test]
fn a_certificate_of_another_authority_is_refused_by_either_side() {
    let (ours, theirs) = (Authority::create("ours").unwrap(), Authority::create("theirs").unwrap());
    let server = ours.issue(Role::ResourceManager, "rm1").unwrap();
    let node = theirs.issue(Role::Node, "n1").unwrap();
    assert!(shake_hands(&server, &node, SERVER_NAME).is_err());

    // The same node, but trusting our server: now it is the server that refuses.
    let mut credulous = node;
    credulous.roots = server.roots.clone();
    let error = shake_hands(&server, &credulous, SERVER_NAME).unwrap_err();
    assert!(error.contains("server: Err"), "{error}");
}

#[test]
fn no_other_role_can_stand_in_for_a_resourcemanager() {
    let authority = Authority::create("test").unwrap();
    let client = authority.issue(Role::Client, "c").unwrap();
    for role in [Role::Node, Role::Client, Role::Admin] {
        // Even with the server's own name as its name: the URI is not a DNS name.
        let server = authority.issue(role, SERVER_NAME).unwrap();
        assert!(shake_hands(&server, &client, SERVER_NAME).is_err(), "{role}");
    }
}

#[test]
fn certificates_outside_their_time_are_refused() {
    let authority = Authority::create("test").unwrap();
    let server = authority.issue(Role::ResourceManager, "rm1").unwrap();
    let year = |count: u32| Duration::from_secs(365 * 24 * 3600) * count;
    let expired = authority.issue_between(Role::Node, "n1", year(30), year(31)).unwrap();
    let error = shake_hands(&server, &expired, SERVER_NAME).unwrap_err();
    assert!(error.contains("expired") || error.contains("Expired"), "{error}");
    let early = authority.issue_between(Role::Node, "n1", year(100), year(101)).unwrap();
    assert!(shake_hands(&server, &early, SERVER_NAME).is_err());

    let dir = tempfile::tempdir().unwrap();
    let files = expired.save(dir.path(), "n1").unwrap();
    let text = Identity::load(&files.certificate, &files.key, &files.ca).unwrap_err().to_string();
    assert!(text.contains("n1.pem") && text.contains("heddle pki issue"), "{text}");
}

#[test]
fn an_identity_is_saved_once_and_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::create("test").unwrap();
    let server = authority.issue(Role::ResourceManager, "rm1").unwrap();
    let files = authority.issue(Role::Node, "n1").unwrap().save(dir.path(), "n1").unwrap();
    let node = Identity::load(&files.certificate, &files.key, &files.ca).unwrap();
    assert_eq!(shake_hands(&server, &node, SERVER_NAME).unwrap().name, "n1");

    let error = authority.issue(Role::Node, "n1").unwrap().save(dir.path(), "n1").unwrap_err();
    assert!(matches!(error, PkiError::Exists { .. }), "{error}");
    // Another authority's files do not go into the same directory.
    let other = Authority::create("other").unwrap().issue(Role::Node, "n2").unwrap();
    assert!(matches!(other.save(dir.path(), "n2"), Err(PkiError::Exists { .. })));
    assert!(!dir.path().join("n2.key").exists());
}

#[test]
fn files_that_do_not_belong_together_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (Authority::create("ours").unwrap(), Authority::create("theirs").unwrap());
    let one = ours.issue(Role::Node, "n1").unwrap().save(&dir.path().join("a"), "n1").unwrap();
    let two = ours.issue(Role::Node, "n2").unwrap().save(&dir.path().join("a"), "n2").unwrap();
    let far = theirs.issue(Role::Node, "n3").unwrap().save(&dir.path().join("b"), "n3").unwrap();

    let error = Identity::load(&one.certificate, &two.key, &one.ca).unwrap_err();
    assert!(matches!(error, PkiError::KeyMismatch { .. }), "{error}");
    let error = Identity::load(&far.certificate, &far.key, &one.ca).unwrap_err();
    assert!(matches!(error, PkiError::WrongAuthority { .. }), "{error}");
    let error = Identity::load(&one.key, &one.key, &one.ca).unwrap_err();
    assert!(matches!(error, PkiError::BadFile { .. }), "{error}");
    let error = Identity::load(&one.certificate, &one.certificate, &one.ca).unwrap_err();
    assert!(matches!(error, PkiError::BadFile { .. }), "{error}");
    let error = Identity::load(&dir.path().join("none.pem"), &one.key, &one.ca).unwrap_err();
    assert!(matches!(error, PkiError::Missing { .. }), "{error}");
    fs::write(&one.certificate, "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n").unwrap();
    let error = Identity::load(&one.certificate, &one.key, &one.ca).unwrap_err();
    assert!(matches!(error, PkiError::BadFile { .. }), "{error}");
}

#[test]
fn keys_do_not_show_in_debug_text() {
    let authority = Authority::create("test").unwrap();
    let identity = authority.issue(Role::Node, "n1").unwrap();
    let text = format!("{identity:?} {authority:?}");
    assert!(text.contains("n1") && text.len() < 300, "{text}");
}
