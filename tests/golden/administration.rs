//! Golden frames of the administration protocol, but for decommissioning: queues, ACLs, capabilities, labels.
//! Owns: their values. Called by: `golden.rs`. Thread: any.
//! Does not: change. A published frame keeps its bytes; a new shape gets a new opcode and a new case here.

use heddle_wire::administration::*;
use heddle_wire::error::RejectCode;
use heddle_wire::record::*;
use heddle_wire::{Flags, Opcode, Reject};

use super::Cases;
use super::cases::{CORRELATION_ID, label, label_names, node_id, with_gpus};

/// Adds every case.
pub(crate) fn add(cases: &mut Cases) {
    let (request, response) = (Flags::REQUEST, Flags::RESPONSE);
    let mut with =
        |variant, flags, record: &dyn super::Golden| cases.add(variant, flags, CORRELATION_ID, 0, record);

    with("", request, &RefreshQueuesRequest {});
    let refreshed = RefreshQueuesResponse {
        queues: 120,
        added_queues: 2,
        removed_queues: 1,
        changed_queues: 7,
        warnings: "yarn.scheduler.capacity.root.etl.colour is not known".to_owned(),
    };
    with("", response, &refreshed);
    with("", request, &RefreshAdminAclsRequest {});
    with("", response, &RefreshAdminAclsResponse {});
    with("", request, &RefreshClusterMaxPriorityRequest {});
    with("", response, &RefreshClusterMaxPriorityResponse { cluster_max_priority: 10 });
    with("", request, &RefreshUserToGroupsMappingsRequest {});
    with("", response, &RefreshUserToGroupsMappingsResponse {});
    with("", request, &GetGroupsForUserRequest { user: "ada".to_owned() });
    with(
        "",
        response,
        &GetGroupsForUserResponse { groups: vec!["analysts".to_owned(), "operators".to_owned()] },
    );

    let node = |over_commit_timeout_ms| NodeResource {
        node_id: node_id(),
        capability: with_gpus(131_072, 32),
        over_commit_timeout_ms,
    };
    with("", request, &UpdateNodeResourceRequest { node_resources: vec![node(Some(15_000)), node(None)] });
    with("", response, &UpdateNodeResourceResponse { affected_nodes: 1 });
    with(
        "",
        request,
        &AddToClusterNodeLabelsRequest { node_labels: vec![label("gpu", true), label("fast", false)] },
    );
    with("", response, &AddToClusterNodeLabelsResponse { added_labels: 2 });
    with("", request, &RemoveFromClusterNodeLabelsRequest { node_labels: label_names() });
    with("", response, &RemoveFromClusterNodeLabelsResponse { removed_labels: 1, affected_nodes: 17 });
    let node_to_labels = vec![
        NodeIdToLabels { node_id: node_id(), node_labels: label_names() },
        NodeIdToLabels { node_id: NodeId::new("every-port.example", 0), node_labels: Vec::new() },
    ];
    with("", request, &ReplaceLabelsOnNodesRequest { node_to_labels, fail_on_unknown_nodes: true });
    with("", response, &ReplaceLabelsOnNodesResponse { affected_nodes: 3 });

    let reasons = "root.etl: children have 110 % together, accepted is 100 %\nroot.adhoc: capacity is -1";
    let refused = Reject::new(RejectCode::ConfigurationRefused, reasons);
    with("refused", Flags::REJECT, &(Opcode::RefreshQueues, refused));
}
