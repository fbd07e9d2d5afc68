//! Who may do what: administrators, owners, ACLs of applications and queues.
//! Owns: [`Access`]: the queues' and the cluster's ACLs in force, users' groups. Called by: every client and
//! administration method of the application manager.
//! Does not: know certificates or roles; the caller's name is the user.
//! Invariant: where ACLs are off every application check passes.

use std::collections::BTreeMap;

use heddle_wire::record::QueueAcl;

use super::rm_app::RmApp;
use super::settings::Groups;
use crate::engine::scheduler::settings::{Acl, QueueTree};

/// What a caller wants with an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AccessType {
    /// VIEW_APP.
    View,
    /// MODIFY_APP.
    Modify,
}

impl AccessType {
    /// YARN's name.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::View => "VIEW_APP",
            Self::Modify => "MODIFY_APP",
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Access {
    queues: QueueTree,
    /// Queues by full path.
    by_path: BTreeMap<Box<str>, u32>,
    /// Queues by last name; `None` where several have it.
    by_name: BTreeMap<Box<str>, Option<u32>>,
    groups: Groups,
}

impl Access {
    pub(super) fn new(queues: QueueTree, groups: Groups) -> Self {
        let (by_path, by_name) = (BTreeMap::new(), BTreeMap::new());
        let mut access = Self { queues: QueueTree::default(), by_path, by_name, groups };
        access.set_queues(queues);
        access
    }

    /// Queues in force.
    pub(super) const fn queues(&self) -> &QueueTree {
        &self.queues
    }

    pub(super) fn set_queues(&mut self, queues: QueueTree) {
        self.by_path.clear();
        self.by_name.clear();
        for (queue, index) in queues.queues.iter().zip(0..) {
            self.by_path.insert(queue.path.clone(), index);
            self.by_name.entry(queue.name().into()).and_modify(|one| *one = None).or_insert(Some(index));
        }
        self.queues = queues;
    }

    pub(super) fn set_admin_acl(&mut self, admin_acl: Acl) {
        self.queues.admin_acl = admin_acl;
    }

    pub(super) const fn set_max_priority(&mut self, maximum: i32) {
        self.queues.max_application_priority = maximum;
    }

    pub(super) fn set_groups(&mut self, groups: Groups) {
        self.groups = groups;
    }

    /// Whether ACLs are enforced.
    pub(super) const fn is_enabled(&self) -> bool {
        self.queues.acl_enabled
    }

    pub(super) fn groups_of(&self, user: &str) -> &[Box<str>] {
        self.groups.get(user).map_or(&[], Vec::as_slice)
    }

    fn admits(&self, acl: &Acl, user: &str) -> bool {
        acl.admits(user, self.groups_of(user))
    }

    /// An administrator of the cluster.
    pub(super) fn is_admin(&self, user: &str) -> bool {
        self.admits(&self.queues.admin_acl, user)
    }

    /// Whether `user` may do this with an application.
    pub(super) fn may(&self, user: &str, app: &RmApp, access: AccessType) -> bool {
        if !self.is_enabled() || *app.submission.user == *user || self.is_admin(user) {
            return true;
        }
        let acl = match access {
            AccessType::View => &app.submission.view_acl,
            AccessType::Modify => &app.submission.modify_acl,
        };
        self.admits(acl, user) || self.may_in_queue(user, &app.queue, QueueAcl::AdministerQueue)
    }

    /// Whether `user` may do this in a queue or one above it. In a queue that is not known nobody may anything.
    pub(super) fn may_in_queue(&self, user: &str, queue: &str, wanted: QueueAcl) -> bool {
        self.find(queue).is_some_and(|index| self.may_at(user, index, wanted))
    }

    /// As [`Access::may_in_queue`], by index.
    pub(super) fn may_at(&self, user: &str, index: u32, wanted: QueueAcl) -> bool {
        self.queues.path(index).any(|(_, queue)| match wanted {
            QueueAcl::SubmitApplications => self.admits(&queue.acl_submit_applications, user),
            QueueAcl::AdministerQueue => self.admits(&queue.acl_administer_queue, user),
        })
    }

    /// Whether `user` may submit to a queue, or move an application there.
    pub(super) fn may_submit(&self, user: &str, index: u32) -> bool {
        !self.is_enabled()
            || self.is_admin(user)
            || self.may_at(user, index, QueueAcl::SubmitApplications)
            || self.may_at(user, index, QueueAcl::AdministerQueue)
    }

    /// A queue by full path, or by its last name where only one has it.
    pub(super) fn find(&self, queue: &str) -> Option<u32> {
        // As `QueueTree::find`, without its walk: access is checked for every application of a listing.
        self.by_path.get(queue).copied().or_else(|| self.by_name.get(queue).copied().flatten())
    }

    /// Queues by path, from the `start`-th on, parents before children.
    pub(super) fn queues_from(&self, start: usize) -> impl Iterator<Item = (&str, u32)> {
        self.by_path.iter().skip(start).map(|(path, index)| (&**path, *index))
    }

    /// Queues of `new` against those in force: new ones, gone ones, changed ones.
    pub(super) fn difference(&self, new: &QueueTree) -> (u32, u32, u32) {
        let (mut added, mut changed, mut kept) = (0, 0, 0);
        for queue in &new.queues {
            match self.by_path.get(&queue.path).and_then(|index| self.queues.queues.get(*index as usize)) {
                None => added += 1,
                Some(old) => {
                    kept += 1;
                    // The place of the parent in the list is no setting.
                    let same = crate::engine::scheduler::settings::QueueSettings {
                        parent: queue.parent,
                        ..old.clone()
                    };
                    changed += u32::from(same != *queue);
                }
            }
        }
        let before = u32::try_from(self.queues.queues.len()).unwrap_or(u32::MAX);
        (added, before.saturating_sub(kept), changed)
    }
}
