//! How a command reaches the ResourceManager: its address, our identity, how long we wait.
//! Owns: those flags and their environment variables. Called by: commands that are clients. Thread: main.
//! Does not: send anything.

use core::time::Duration;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;

use clap::Args;

use super::error::{CliError, Exit};
use super::number::whole;
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
    #[arg(long, env = "HEDDLE_TIMEOUT_S", default_value_t = 10, value_parser = whole(1..=3_600_u64), value_name = "SECONDS")]
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
        let is_host_and_port = |(host, port): (&str, &str)| !host.is_empty() && port.parse::<u16>().is_ok();
        if !text.rsplit_once(':').is_some_and(is_host_and_port) {
            let text =
                format!("--rm-address is {text:?}, accepted is HOST:PORT, for example rm.example:8031");
            return Err(CliError::new(Exit::Usage, text));
        }
        let no_address = |reason: String| {
            let text = format!("--rm-address is {text:?}, and its host has no address: {reason}");
            CliError::new(Exit::Unreachable, text)
        };
        let mut found = text.to_socket_addrs().map_err(|error| no_address(error.to_string()))?;
        found.next().ok_or_else(|| no_address("the name is known without any".to_owned()))
    }
}
