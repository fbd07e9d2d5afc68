//! Where a frame goes, by its header and the role of its peer; and the words for those that go nowhere.
//! Nodes' frames go to the shard of their handle, ApplicationMasters' to the scheduler of theirs, clients' and
//! administrators' to the application manager, but for what is about nodes as such.
//! Owns: the table of which role may call which method ([`route`]). Called by: stream tasks, per frame.
//! Does not: read bodies, except of a registration, whose host must be one the certificate names.

use heddle_wire::frame::Frame;
use heddle_wire::opcode::Protocol;
use heddle_wire::record::{AttemptHandle, NodeHandle};
use heddle_wire::resource_tracker::RegisterNodeManagerRequest;
use heddle_wire::{Opcode, Reject, RejectCode};

use crate::pki::{PeerIdentity, Role};

/// Scheduler threads.
const SCHEDULERS: usize = 1;

/// Where a request goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// To a shard.
    Shard(usize),
    /// To a scheduler thread.
    Scheduler(usize),
    /// To the application manager, with the peer's name.
    Application,
    /// To the service that reloads the include and exclude lists.
    NodeLists,
    /// To the service that reads the files of the scheduler's configuration.
    Files,
    /// A shard, once the application manager has said that the caller may: shards know no ACLs.
    ShardIfAdmitted(usize),
    /// Nowhere; tell the peer.
    Refused(Reject),
}

/// Decides where a request of `peer` goes.
#[inline]
pub(super) fn route(frame: &Frame<'_>, peer: &PeerIdentity, shard_count: usize) -> Route {
    let header = &frame.header;
    // Nearly every frame there is.
    if header.opcode == Opcode::NodeHeartbeat && peer.role == Role::Node && !header.flags.is_response() {
        let shard = usize::from(NodeHandle(header.routing_key).shard());
        if shard < shard_count {
            return Route::Shard(shard);
        }
    }
    route_slowly(frame, peer, shard_count)
}

fn route_slowly(frame: &Frame<'_>, peer: &PeerIdentity, shard_count: usize) -> Route {
    let header = &frame.header;
    let name = header.opcode.name();
    if header.flags.is_response() {
        let text = format!(
            "flags of {name} are {:#06x}: an answer, accepted are requests (flags 0)",
            header.flags.bits()
        );
        return Route::Refused(Reject::new(RejectCode::WrongDirection, text));
    }
    if !may_call(peer.role, header.opcode) {
        let text = format!(
            "certificate {} has the role {}, accepted for {name} is {}",
            peer.uri(),
            peer.role.name(),
            accepted_roles(header.opcode)
        );
        return Route::Refused(Reject::new(RejectCode::RoleNotAllowed, text));
    }
    match header.opcode {
        Opcode::RegisterNodeManager => {
            let register = match heddle_wire::access::<RegisterNodeManagerRequest>(frame.body()) {
                Ok(register) => register,
                Err(error) => return Route::Refused(Reject::from(&error)),
            };
            let host: &str = &register.node_id.host;
            if !peer.allows_host(host) {
                let host: String = host.chars().take(64).collect();
                let text = format!(
                    "node_id.host is {host:?}, accepted for certificate {} is {:?}",
                    peer.uri(),
                    peer.name
                );
                return Route::Refused(Reject::new(RejectCode::NameNotAllowed, text));
            }
            Route::Shard(usize::try_from(header.routing_key % shard_count.max(1) as u64).unwrap_or(0))
        }
        Opcode::NodeHeartbeat
        | Opcode::UnRegisterNodeManager
        | Opcode::GetClusterNodes
        | Opcode::GetClusterMetrics
        | Opcode::DecommissionNodes
        | Opcode::RecommissionNodes => {
            let shard = usize::from(NodeHandle(header.routing_key).shard());
            if shard < shard_count {
                let needs_access = header.opcode.protocol() == Protocol::Administration;
                return if needs_access { Route::ShardIfAdmitted(shard) } else { Route::Shard(shard) };
            }
            let text = format!(
                "routing_key of {name} names shard {shard}, accepted are 0 to {}",
                shard_count.saturating_sub(1)
            );
            Route::Refused(Reject::new(RejectCode::WrongRoute, text))
        }
        Opcode::RegisterApplicationMaster | Opcode::Allocate | Opcode::FinishApplicationMaster => {
            let scheduler = usize::from(AttemptHandle(header.routing_key).scheduler());
            if scheduler < SCHEDULERS {
                return Route::Scheduler(scheduler);
            }
            let text = format!(
                "routing_key of {name} names scheduler {scheduler}, accepted are 0 to {}: the handle of the attempt",
                SCHEDULERS - 1
            );
            Route::Refused(Reject::new(RejectCode::WrongRoute, text))
        }
        Opcode::RefreshNodes => Route::NodeLists,
        Opcode::RefreshQueues
        | Opcode::RefreshAdminAcls
        | Opcode::RefreshUserToGroupsMappings
        | Opcode::RefreshClusterMaxPriority => Route::Files,
        _ if is_supported(header.opcode) => Route::Application,
        _ => Route::Refused(Reject::new(
            RejectCode::NotSupportedYet,
            format!("{name} is not supported yet by Heddle {}", env!("CARGO_PKG_VERSION")),
        )),
    }
}

/// What the application manager answers. The rest is of later: security tokens, reservations, attributes, profiles.
const fn is_supported(opcode: Opcode) -> bool {
    !matches!(
        opcode,
        Opcode::GetDelegationToken
            | Opcode::RenewDelegationToken
            | Opcode::CancelDelegationToken
            | Opcode::GetNewReservation
            | Opcode::SubmitReservation
            | Opcode::UpdateReservation
            | Opcode::DeleteReservation
            | Opcode::ListReservations
            | Opcode::GetClusterNodeAttributes
            | Opcode::GetAttributesToNodes
            | Opcode::GetNodesToAttributes
            | Opcode::GetResourceProfiles
            | Opcode::GetResourceProfile
            | Opcode::RefreshSuperUserGroupsConfiguration
            | Opcode::RefreshServiceAcls
            | Opcode::RefreshNodesResources
            | Opcode::CheckForDecommissioningNodes
            | Opcode::MapAttributesToNodes
    )
}

/// Which role may call which protocol. An administrator may also ask what a client may.
const fn may_call(role: Role, opcode: Opcode) -> bool {
    match opcode.protocol() {
        Protocol::ResourceTracker => matches!(role, Role::Node),
        // An ApplicationMaster proves itself by its token, on a client's connection.
        Protocol::ApplicationMaster => matches!(role, Role::Client),
        Protocol::ApplicationClient => matches!(role, Role::Client | Role::Admin),
        Protocol::Administration => matches!(role, Role::Admin),
    }
}

const fn accepted_roles(opcode: Opcode) -> &'static str {
    match opcode.protocol() {
        Protocol::ResourceTracker => "node",
        Protocol::ApplicationMaster => "client",
        Protocol::ApplicationClient => "client or admin",
        Protocol::Administration => "admin",
    }
}

#[cfg(test)]
mod tests {
    use heddle_wire::Flags;
    use heddle_wire::FrameHeader;

    use super::*;

    fn routed(opcode: Opcode, flags: Flags, routing_key: u64, role: Role) -> Route {
        let header = FrameHeader { opcode, flags, body_length: 0, correlation_id: 1, routing_key };
        let bytes = header.to_bytes();
        let peer = PeerIdentity::new(role, "alice").unwrap();
        route(&Frame { header, bytes: &bytes }, &peer, 2)
    }

    fn code(route: Route) -> (u16, String) {
        match route {
            Route::Refused(reject) => (reject.code, reject.message),
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn beats_go_by_the_shard_of_their_handle() {
        for shard in [0, 1] {
            let key = NodeHandle::new(shard, 7, 1).0;
            let route = routed(Opcode::NodeHeartbeat, Flags::REQUEST, key, Role::Node);
            assert_eq!(route, Route::Shard(usize::from(shard)));
        }
        let key = NodeHandle::new(2, 7, 1).0;
        let (number, text) = code(routed(Opcode::NodeHeartbeat, Flags::REQUEST, key, Role::Node));
        assert_eq!(number, RejectCode::WrongRoute as u16);
        assert!(text.contains("shard 2") && text.contains("0 to 1"), "{text}");
    }

    #[test]
    fn every_method_has_a_role_and_the_refusal_names_it() {
        for &opcode in Opcode::ALL {
            let allowed = Role::ALL.into_iter().filter(|&role| may_call(role, opcode)).count();
            assert!(allowed > 0, "{}", opcode.name());
            assert!(!may_call(Role::ResourceManager, opcode));
        }
        let (number, text) = code(routed(Opcode::DecommissionNodes, Flags::REQUEST, 0, Role::Client));
        assert_eq!(number, RejectCode::RoleNotAllowed as u16);
        assert!(text.contains("heddle://client/alice") && text.contains("is admin"), "{text}");
        for opcode in [Opcode::DecommissionNodes, Opcode::RecommissionNodes] {
            assert_eq!(routed(opcode, Flags::REQUEST, 0, Role::Admin), Route::ShardIfAdmitted(0));
        }
        assert_eq!(routed(Opcode::GetClusterNodes, Flags::REQUEST, 0, Role::Admin), Route::Shard(0));
        let (number, _) = code(routed(Opcode::NodeHeartbeat, Flags::REQUEST, 0, Role::Admin));
        assert_eq!(number, RejectCode::RoleNotAllowed as u16);
    }

    #[test]
    fn answers_and_methods_of_later_are_refused_by_name() {
        let (number, text) = code(routed(Opcode::NodeHeartbeat, Flags::PUSH, 0, Role::Node));
        assert_eq!(number, RejectCode::WrongDirection as u16);
        assert!(text.contains("0x0005"), "{text}");
        let (number, text) = code(routed(Opcode::GetNewReservation, Flags::REQUEST, 0, Role::Client));
        assert_eq!(number, RejectCode::NotSupportedYet as u16);
        assert!(text.contains("GetNewReservation"), "{text}");
    }

    #[test]
    fn masters_go_to_the_scheduler_of_their_handle_and_clients_to_the_application_manager() {
        let key = AttemptHandle::new(0, 5, 1).0;
        for opcode in [Opcode::RegisterApplicationMaster, Opcode::Allocate, Opcode::FinishApplicationMaster] {
            assert_eq!(routed(opcode, Flags::REQUEST, key, Role::Client), Route::Scheduler(0));
            let (number, text) = code(routed(opcode, Flags::REQUEST, 7 << 56, Role::Client));
            assert_eq!(number, RejectCode::WrongRoute as u16);
            assert!(text.contains("scheduler 7") && text.contains("0 to 0"), "{text}");
        }
        for role in [Role::Client, Role::Admin] {
            assert_eq!(routed(Opcode::SubmitApplication, Flags::REQUEST, 9, role), Route::Application);
        }
        assert_eq!(routed(Opcode::UpdateNodeResource, Flags::REQUEST, 0, Role::Admin), Route::Application);
        assert_eq!(routed(Opcode::RefreshQueues, Flags::REQUEST, 0, Role::Admin), Route::Files);
        let (number, _) = code(routed(Opcode::Allocate, Flags::REQUEST, key, Role::Node));
        assert_eq!(number, RejectCode::RoleNotAllowed as u16);
    }
}
