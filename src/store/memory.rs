//! A state store in memory: for ResourceManagers that need not outlive their process, and for tests.
//! Owns: the records. Called by: whoever owns the store. Thread: the owner's.
//! Does not: survive. Bound: the application manager removes completed applications beyond its cap, and takes a bounded
//! number of others.
//! Invariant: an attempt is there only with its application.

use std::collections::BTreeMap;

use heddle_wire::record::{ApplicationAttemptId, ApplicationId};

use super::StateStore;
use crate::engine::application::message::{ApplicationRecord, AttemptRecord, StoreError};
use crate::engine::application::{StoreEvent, StoreOperation};

/// Largest record that is accepted, bytes, as estimated: a launch context and texts have less.
const RECORD_SIZE_MAX: u64 = 1 << 20;

/// An application with its attempts.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredApplication {
    /// The application.
    pub record: ApplicationRecord,
    /// Its attempts by number.
    pub attempts: BTreeMap<u32, AttemptRecord>,
}

/// See the module.
#[derive(Debug)]
pub struct MemoryStore {
    applications: BTreeMap<ApplicationId, StoredApplication>,
    record_size_max: u64,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self { applications: BTreeMap::new(), record_size_max: RECORD_SIZE_MAX }
    }
}

impl MemoryStore {
    /// With another bound on a record.
    #[must_use]
    pub const fn with_record_size_max(record_size_max: u64) -> Self {
        Self { applications: BTreeMap::new(), record_size_max }
    }

    /// Everything that is stored, by id.
    #[must_use]
    pub const fn applications(&self) -> &BTreeMap<ApplicationId, StoredApplication> {
        &self.applications
    }

    fn save_application(&mut self, record: &ApplicationRecord) -> Result<(), StoreError> {
        let submission = &record.submission;
        let size =
            submission.launch_context.len() + submission.name.len() + record.state.diagnostics.len() + 512;
        self.check_size(size)?;
        let id = submission.application_id;
        match self.applications.get(&id) {
            Some(stored) if stored.record == *record => Ok(()),
            Some(_) => Err(StoreError::Conflict(format!("{id} is stored already").into())),
            None => {
                let stored = StoredApplication { record: record.clone(), attempts: BTreeMap::new() };
                self.applications.insert(id, stored);
                Ok(())
            }
        }
    }

    fn put_attempt(&mut self, record: &AttemptRecord) -> Result<(), StoreError> {
        self.check_size(record.diagnostics.len() + record.tracking_url.len() + 512)?;
        let id = record.attempt_id;
        let stored = self.stored(id.application_id)?;
        stored.attempts.insert(id.attempt_id, record.clone());
        Ok(())
    }

    fn stored(&mut self, id: ApplicationId) -> Result<&mut StoredApplication, StoreError> {
        self.applications
            .get_mut(&id)
            .ok_or_else(|| StoreError::Conflict(format!("{id} is not stored").into()))
    }

    fn remove_attempt(&mut self, id: ApplicationAttemptId) {
        if let Some(stored) = self.applications.get_mut(&id.application_id) {
            stored.attempts.remove(&id.attempt_id);
        }
    }

    const fn check_size(&self, size: usize) -> Result<(), StoreError> {
        let size = size as u64;
        if size <= self.record_size_max {
            return Ok(());
        }
        Err(StoreError::TooLarge { size, accepted: self.record_size_max })
    }
}

impl StateStore for MemoryStore {
    fn apply(&mut self, group: &[StoreOperation], events: &mut Vec<StoreEvent>) {
        for operation in group {
            match operation {
                StoreOperation::SaveApplication(record) => {
                    let application_id = record.submission.application_id;
                    let result = self.save_application(record);
                    events.push(StoreEvent::ApplicationSaved { application_id, result });
                }
                StoreOperation::UpdateApplication { state, purpose } => {
                    let application_id = state.application_id;
                    let result = self
                        .check_size(state.diagnostics.len() + 512)
                        .and_then(|()| self.stored(application_id))
                        .map(|stored| stored.record.state = (**state).clone());
                    events.push(StoreEvent::ApplicationUpdated { application_id, purpose: *purpose, result });
                }
                StoreOperation::SaveAttempt(record) => {
                    let attempt_id = record.attempt_id;
                    let result = self.put_attempt(record);
                    events.push(StoreEvent::AttemptSaved { attempt_id, result });
                }
                StoreOperation::UpdateAttempt { record, purpose } => {
                    let attempt_id = record.attempt_id;
                    let result = self.put_attempt(record);
                    events.push(StoreEvent::AttemptUpdated { attempt_id, purpose: *purpose, result });
                }
                StoreOperation::RemoveAttempt(id) => self.remove_attempt(*id),
                StoreOperation::RemoveApplication(id) => {
                    self.applications.remove(id);
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "memory/tests.rs"]
mod tests;
