//! Commands with a token and what is answered, in few words.

use heddle::engine::scheduler::message::{ApplicationEvent, Query, QueryReply, SchedulerCommand};
use heddle::engine::scheduler::settings::{
    Capacity, MaximumCapacity, PartitionCapacity, QueueState, QueueTree, SchedulerSettings,
};
use heddle_wire::RejectCode;

use crate::cluster::{Cluster, application, settings};

pub const TOKEN: u64 = 77;

/// `Ok` with the number, or the code and every reason.
pub type Done = Result<i64, (RejectCode, String)>;

impl Cluster {
    /// The answer to the last command, which is the last thing said.
    pub fn reply(&mut self) -> QueryReply {
        match self.told.pop() {
            Some(ApplicationEvent::Reply { token: TOKEN, reply }) => reply,
            other => panic!("{other:?}"),
        }
    }

    pub fn order(&mut self, command: SchedulerCommand) -> Done {
        self.command(command);
        let reply = self.reply();
        self.verify();
        match reply {
            QueryReply::Done(number) => Ok(number),
            QueryReply::Refused { code, reasons } => {
                Err((RejectCode::from_number(code).unwrap(), reasons.to_string()))
            }
            other => panic!("{other:?}"),
        }
    }

    pub fn query(&mut self, query: Query) -> QueryReply {
        self.command(SchedulerCommand::Query { token: TOKEN, query });
        self.reply()
    }

    pub fn replace(&mut self, queues: QueueTree) -> Done {
        self.order(SchedulerCommand::ReplaceQueues { token: TOKEN, queues: Box::new(queues) })
    }

    pub fn move_to(&mut self, id: u32, queue: &str) -> Done {
        self.order(move_command(id, queue, false))
    }

    pub fn add_labels(&mut self, labels: &[(&str, bool)]) -> Done {
        let labels = labels.iter().map(|(label, is_exclusive)| ((*label).into(), *is_exclusive)).collect();
        self.order(SchedulerCommand::AddNodeLabels { token: TOKEN, labels })
    }

    pub fn remove_labels(&mut self, labels: &[&str]) -> Done {
        let labels = labels.iter().map(|label| (*label).into()).collect();
        self.order(SchedulerCommand::RemoveNodeLabels { token: TOKEN, labels })
    }

    pub fn label(&mut self, nodes: &[(&str, u16, Option<&str>)], fail_on_unknown_nodes: bool) -> Done {
        let nodes =
            nodes.iter().map(|(host, port, label)| ((*host).into(), *port, label.map(Into::into))).collect();
        self.order(SchedulerCommand::ReplaceLabelsOnNodes { token: TOKEN, nodes, fail_on_unknown_nodes })
    }
}

pub fn move_command(id: u32, queue: &str, is_check_only: bool) -> SchedulerCommand {
    SchedulerCommand::MoveApplication {
        token: TOKEN,
        application_id: application(id),
        queue: queue.into(),
        is_check_only,
    }
}

/// Sets a queue's state.
pub fn stop(tree: &mut QueueTree, path: &str) {
    let queue = tree.find(path).unwrap() as usize;
    tree.queues[queue].state = QueueState::Stopped;
}

/// Gives a queue a share of a label.
pub fn share(tree: &mut QueueTree, path: &str, label: &str, percent: f32) {
    let queue = tree.find(path).unwrap() as usize;
    let queue = &mut tree.queues[queue];
    let share = PartitionCapacity {
        capacity: Capacity::Percent(percent),
        maximum: MaximumCapacity::Percent(100.0),
        maximum_am_resource_percent: 1.0,
    };
    queue.capacities.insert(label.into(), share);
    queue.accessible_node_labels.get_or_insert_default().push(label.into());
}

/// Settings with labels.
pub fn labelled(tree: QueueTree, labels: &[(&str, bool)]) -> SchedulerSettings {
    SchedulerSettings {
        node_labels: labels.iter().map(|(label, is_exclusive)| ((*label).into(), *is_exclusive)).collect(),
        node_labels_enabled: true,
        ..settings(tree)
    }
}
