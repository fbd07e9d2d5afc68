//! Configuration: defaults, then Hadoop's files, then `heddle.toml`, then the environment, then flags; read once, checked once.
//! Owns: the table of keys, where each value came from, every rule about values. Called by: `cli`, tests, the load
//! generator; before any thread of the ResourceManager starts. Does not: change afterwards, or know what a role does
//! with its settings.
//!
//! Invariant: an [`RmConfig`] has passed every check; whoever holds one need not check again.

mod check;
mod cluster;
mod error;
mod groups;
mod hadoop;
mod key;
mod node_lists;
mod queues;
mod settings;
mod source;
#[cfg(test)]
mod tests;
mod yarn_site;

pub use error::{ConfigError, ConfigErrors, ConfigWarning};
pub use groups::GroupsFile;
pub use key::example;
pub use node_lists::read_node_lists;
pub use queues::{QueueFiles, QueueReading};
pub use settings::{
    HttpSettings, LogFormat, LogSettings, NodeListFiles, PkiFiles, RecorderSettings, RmConfig,
    RuntimeSettings, TransportSettings,
};
pub use source::{ConfigSources, Entry, Origin, PropertyPlace};
