//! How a command reaches the ResourceManager: its address, our identity, how long we wait.
//! Owns: those flags and their environment variables. Called by: commands that are clients. Thread: main.
//! Does not: send anything.

use core::time::Duration;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;

use clap::Args;

use super::error::{CliError, Exit};
use crate::client::{AdminClient, ApplicationClient, ClientOptions};
use crate::pki::{CA_CERTIFICATE_FILE, Identity, Role};

/// Where the ResourceManager is and who we are.
#[derive(Debug, Args)]
#[command(next_help_heading = "Connection")]
pub(super) struct ConnectionArgs {
    /// The ResourceManager.
    #[arg(long, env = "HEDDLE_RM_ADDRESS", default_value = "127.0.0.1:8031", value_name = "HOST:PORT")]
    rm_address: String,
    /// Directory of our certificate and the authority's.
    #[arg(long, env = "HEDDLE_PKI_DIR", default_value = "pki", value_name = "DIR")]
    pki_dir: PathBuf,
    /// Our certificate [default: admin.pem in the directory, or client.pem if there is no such].
    #[arg(long, requires = "key", value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// Its key.
    #[arg(long, requires = "certificate", value_name = "FILE")]
    key: Option<PathBuf>,
    /// The authority's certificate [default: ca.pem in the directory].
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Longest wait for the connection and for each answer, seconds.
    #[arg(long, env = "HEDDLE_TIMEOUT_S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600), value_name = "SECONDS")]
    answer_timeout: u64,
}

impl ConnectionArgs {
    /// Connects for nodes.
    pub(super) async fn connect(&self) -> Result<AdminClient, CliError> {
        Ok(AdminClient::connect(&self.identity()?, self.address()?, self.options()).await?)
    }

    /// Connects for applications, queues and the scheduler.
    pub(super) async fn connect_application(&self) -> Result<ApplicationClient, CliError> {
        Ok(ApplicationClient::connect(&self.identity()?, self.address()?, self.options()).await?)
    }

    fn options(&self) -> ClientOptions {
        ClientOptions::default().with_timeout(Duration::from_secs(self.answer_timeout))
    }

    fn identity(&self) -> Result<Identity, CliError> {
        let ca = self.ca.clone().unwrap_or_else(|| self.pki_dir.join(CA_CERTIFICATE_FILE));
        let (certificate, key) = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => (certificate.clone(), key.clone()),
            _ => {
                let at = |role: Role, ending: &str| self.pki_dir.join(format!("{role}.{ending}"));
                let has_only_client = !at(Role::Admin, "pem").exists() && at(Role::Client, "pem").exists();
                let role = if has_only_client { Role::Client } else { Role::Admin };
                (at(role, "pem"), at(role, "key"))
            }
        };
        Ok(Identity::load(&certificate, &key, &ca)?)
    }

    fn address(&self) -> Result<SocketAddr, CliError> {
        let text = &self.rm_address;
        let wrong = |reason: String| {
            CliError::new(
                Exit::Unreachable,
                format!("--rm-address is {text:?}, accepted is HOST:PORT: {reason}"),
            )
        };
        let mut found = text.to_socket_addrs().map_err(|error| wrong(error.to_string()))?;
        found.next().ok_or_else(|| wrong("the name has no address".to_owned()))
    }
}
