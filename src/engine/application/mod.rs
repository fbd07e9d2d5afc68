//! The application manager: applications and their attempts, who may do what with them, what is kept of them.
//! Owns: [`ApplicationManager`], its messages and settings. Called by: the duty cycle of `rm-app`, store, runtime,
//! recorder, simulator.
//! Does not: place containers, know sessions of ApplicationMasters, read files, write storage.
//! Invariants: nothing is visible before its record is acknowledged; its output is a function of its input sequence.
//!
//! | file | what is in it |
//! |---|---|
//! | `manager` | the face: scheduler's and store's messages, ticks, the completed list |
//! | `client`, `submit`, `listing`, `changes`, `administration` | frames and commands in |
//! | `waiting`, `reply` | calls that wait for the scheduler or the store |
//! | `rm_app_state`, `rm_app_attempt_state` | YARN's tables, pure |
//! | `lifecycle`, `attempt_lifecycle` | what the tables' actions do |
//! | `access`, `audit`, `report`, `diagnostics` | who may, what is logged, what is shown, what was said |
//! | `ended` | how applications ended, by queue |

mod access;
mod administration;
mod attempt_lifecycle;
mod audit;
mod call;
mod changes;
mod client;
mod diagnostics;
mod ended;
mod lifecycle;
mod listing;
mod manager;
pub mod message;
mod reply;
mod report;
mod rm_app;
mod rm_app_attempt;
pub mod rm_app_attempt_state;
pub mod rm_app_state;
pub mod settings;
mod submit;
mod waiting;

pub use audit::nodes_in_words;
pub use manager::ApplicationManager;
pub use message::{
    ApplicationCommand, ApplicationCounters, ApplicationOutput, ApplicationReply, StoreEvent, StoreOperation,
};
pub use settings::ApplicationSettings;
