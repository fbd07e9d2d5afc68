//! The application manager: applications and their attempts, who may do what with them, what is kept of them.
//! Owns: the states of RMApp and RMAppAttempt, their messages and settings. Called by: the duty cycle of `rm-app`, store,
//! runtime, recorder, simulator.
//! Does not: place containers, know sessions of ApplicationMasters, read files, write storage.
//! Invariants: nothing is visible before its record is acknowledged; its output is a function of its input sequence.

pub mod message;
pub mod rm_app_attempt_state;
pub mod rm_app_state;
pub mod settings;

pub use message::{
    ApplicationCommand, ApplicationCounters, ApplicationOutput, ApplicationReply, StoreEvent, StoreOperation,
};
pub use settings::ApplicationSettings;
