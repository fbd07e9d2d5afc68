//! How a container is started: what a client submits for its ApplicationMaster and a node is told to start.
//! Owns: the launch context and what it is made of, and the order to launch. Called by: submission, resource tracker.
//! Does not: run anything; the context is carried, not understood.
//! Invariant: a launch context is at most [`LAUNCH_CONTEXT_MAX`](crate::limits::LAUNCH_CONTEXT_MAX) bytes in all.

use core::fmt;

use rkyv::{Archive, Deserialize, Serialize};

use super::{
    ApplicationAcl, ArchivedApplicationAcl, ArchivedStringPair, AttemptHandle, ContainerId, Resource,
    StringPair, TokenMac,
};

/// Who shares a localised file.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(
    Archive, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash,
)]
#[rkyv(derive(Clone, Copy, Debug, PartialEq, Eq))]
#[repr(u8)]
pub enum LocalResourceVisibility {
    /// Everybody on the node.
    Public = 1,
    /// Applications of the same user.
    Private = 2,
    /// This application only.
    #[default]
    Application = 3,
}

/// What becomes of a localised file.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(
    Archive, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash,
)]
#[rkyv(derive(Clone, Copy, Debug, PartialEq, Eq))]
#[repr(u8)]
pub enum LocalResourceType {
    /// It is unpacked.
    Archive = 1,
    /// It stays as it is.
    #[default]
    File = 2,
    /// Entries that match a pattern are unpacked.
    Pattern = 3,
}

/// A file that has to be on the node before the container starts.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalResource {
    /// Its name in the container's working directory.
    pub key: String,
    /// Where it comes from.
    pub url: String,
    /// Its size, bytes.
    pub size: u64,
    /// Its modification time, milliseconds since 1970; another one at the source is an error.
    pub timestamp_ms: u64,
    /// What becomes of it.
    pub resource_type: LocalResourceType,
    /// Who shares it.
    pub visibility: LocalResourceVisibility,
    /// For [`LocalResourceType::Pattern`]; else empty.
    pub pattern: String,
    /// Whether it should go to the shared cache.
    pub should_be_uploaded_to_shared_cache: bool,
}

/// When a container that failed is started again in place.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(
    Archive, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash,
)]
#[rkyv(derive(Clone, Copy, Debug, PartialEq, Eq))]
#[repr(u8)]
pub enum ContainerRetryPolicy {
    /// Never.
    #[default]
    NeverRetry = 0,
    /// After any error.
    RetryOnAllErrors = 1,
    /// After the errors listed.
    RetryOnSpecificErrorCodes = 2,
}

/// Rules for starting a failed container again in place.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerRetryContext {
    /// When.
    pub retry_policy: ContainerRetryPolicy,
    /// Exit codes, for [`ContainerRetryPolicy::RetryOnSpecificErrorCodes`].
    pub error_codes: Vec<i32>,
    /// How often; -1 for ever.
    pub max_retries: i32,
    /// Wait before, milliseconds.
    pub retry_interval_ms: u32,
    /// Failures older than this do not count, milliseconds; `None` = all count.
    pub failures_validity_interval_ms: Option<u64>,
}

/// Data for an auxiliary service of the node.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ServiceData {
    /// The service.
    pub key: String,
    /// The data, opaque to Heddle.
    pub value: Vec<u8>,
}

/// How to start a container.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Default, PartialEq, Eq)]
pub struct ContainerLaunchContext {
    /// The command, in parts that a shell joins.
    pub commands: Vec<String>,
    /// Environment variables.
    pub environment: Vec<StringPair>,
    /// Files to localise.
    pub local_resources: Vec<LocalResource>,
    /// Data for auxiliary services.
    pub service_data: Vec<ServiceData>,
    /// Credentials of the container, opaque to Heddle.
    pub tokens: Vec<u8>,
    /// Who may see and change the application.
    pub application_acls: Vec<ApplicationAcl>,
    /// Rules for starting it again in place; `None` = never.
    pub container_retry_context: Option<ContainerRetryContext>,
}

macro_rules! launch_context_size {
    ($($context:ty)*) => { $(
        impl $context {
            /// What the limit of a launch context counts, bytes: its texts and bytes, and the archived fixed parts of
            /// its records. Never less than its archive.
            #[must_use]
            pub fn size(&self) -> usize {
                const TEXT: usize = size_of::<rkyv::Archived<String>>();
                let mut size = size_of::<ArchivedContainerLaunchContext>() + self.tokens.len();
                for command in self.commands.iter() {
                    size += TEXT + command.len();
                }
                for pair in self.environment.iter() {
                    size += size_of::<ArchivedStringPair>() + pair.key.len() + pair.value.len();
                }
                for file in self.local_resources.iter() {
                    size += size_of::<ArchivedLocalResource>();
                    size += file.key.len() + file.url.len() + file.pattern.len();
                }
                for data in self.service_data.iter() {
                    size += size_of::<ArchivedServiceData>() + data.key.len() + data.value.len();
                }
                for acl in self.application_acls.iter() {
                    size += size_of::<ArchivedApplicationAcl>() + acl.acl.len();
                }
                let retry = self.container_retry_context.as_ref();
                size + retry.map_or(0, |retry| retry.error_codes.len() * size_of::<i32>())
            }
        }
    )* };
}
launch_context_size! { ContainerLaunchContext ArchivedContainerLaunchContext }

/// Without the credentials, and without values of variables, which often are some.
impl fmt::Debug for ContainerLaunchContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&str> = self.environment.iter().map(|pair| pair.key.as_str()).collect();
        f.debug_struct("ContainerLaunchContext")
            .field("commands", &self.commands)
            .field("environment", &keys)
            .field("local_resources", &self.local_resources)
            .field("application_acls", &self.application_acls)
            .field("container_retry_context", &self.container_retry_context)
            .finish_non_exhaustive()
    }
}

/// An order to start a container: today that of an ApplicationMaster.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ContainerLaunch {
    /// Its number among the commands of the node: a repeated delivery has the same, and is not carried out twice.
    pub sequence: u32,
    /// The container.
    pub container_id: ContainerId,
    /// Handle of its attempt: the routing key with which the ApplicationMaster registers.
    pub attempt_handle: AttemptHandle,
    /// User to run as.
    pub user: String,
    /// Its size.
    pub resource: Resource,
    /// Its priority.
    pub priority: i32,
    /// Signature of the right to start it: version 0, guaranteed, no allocation request id.
    pub token: TokenMac,
    /// After this the node refuses to start it, milliseconds since 1970.
    pub expires_at_ms: u64,
    /// Proves to the ResourceManager that the ApplicationMaster is the one it launched.
    pub am_rm_token: TokenMac,
    /// How to start it.
    pub launch_context: ContainerLaunchContext,
}
