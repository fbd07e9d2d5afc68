//! The audit log: a line for each action of a client or an administrator, in YARN's order of pairs.
//! Owns: those clauses. Called by: the test harness. Does not: test that actions are audited at all; their own tests do.

use heddle_wire::administration::*;

use super::*;

fn closed(_: &mut ApplicationSettings, queues: &mut QueueTree) {
    queues.acl_enabled = true;
    queues.admin_acl = Acl::parse("root");
    queues.queues[0].acl_administer_queue = Acl::default();
}

/// The caller's address was not known to the application manager, so that lines had no IP, which is what an operator looks
/// for after an application was killed and nobody did it.
#[test]
fn a_line_has_who_from_where_did_what_to_which_application() {
    let mut rm = Rm::with(closed);
    rm.address = Some([10, 1, 2, 3].into());
    let id = rm.submit(|_| {});
    assert_eq!(
        rm.audit,
        [format!(
            "USER=ada\tIP=10.1.2.3\tOPERATION=Submit Application Request\tTARGET=ClientRMService\tRESULT=SUCCESS\t\
             APPID={id}\tQUEUENAME=default"
        )]
    );
    let target_queue = "root.nowhere".to_owned();
    rm.reply = |_| {
        let code = RejectCode::NotFound as u16;
        Some(QueryReply::Refused { code, reasons: "queue root.nowhere is unknown".into() })
    };
    rm.send("ada", false, &MoveApplicationAcrossQueuesRequest { application_id: id, target_queue });
    rm.answer::<MoveApplicationAcrossQueuesResponse>().expect_err("it is refused");
    assert_eq!(
        rm.audit[1],
        format!(
            "USER=ada\tIP=10.1.2.3\tOPERATION=Move Application Request\tTARGET=ClientRMService\tRESULT=FAILURE\t\
             DESCRIPTION=queue root.nowhere is unknown\tPERMISSIONS=UNKNOWN\tAPPID={id}\tQUEUENAME=root.nowhere"
        )
    );
    rm.address = Some("fd00::7".parse().expect("an address"));
    rm.kill_as("eve", id).expect_err("it is not hers");
    let expected = format!(
        "USER=eve\tIP=fd00::7\tOPERATION=Kill Application Request\tTARGET=ClientRMService\tRESULT=FAILURE\t\
         DESCRIPTION=Unauthorized user\tPERMISSIONS=User eve cannot perform operation MODIFY_APP on {id}"
    );
    assert!(rm.audit[2].starts_with(&expected), "{}", rm.audit[2]);
    assert!(rm.audit[2].ends_with(&format!("\tAPPID={id}")), "{}", rm.audit[2]);
    rm.kill(id);
    assert_eq!(rm.report(id).diagnostics, format!("Application {id} was killed by user ada at fd00::7"));
    let expected = "USER=ada\tOPERATION=Application Finished - Killed\tTARGET=RMAppManager\tRESULT=SUCCESS";
    assert_eq!(rm.audit[4], format!("{expected}\tAPPID={id}"), "nobody asked for it: it has no address");
}

#[test]
fn administrators_are_audited_with_their_address_too() {
    let mut rm = Rm::with(closed);
    rm.address = Some([10, 9, 9, 9].into());
    rm.send("root", true, &GetGroupsForUserRequest { user: "eli".to_owned() });
    rm.answer::<GetGroupsForUserResponse>().expect("an answer");
    let caller = |name: &str| Caller { address: rm.address, ..Caller::new(PeerId(1), name, true) };
    let (root, eve) = (caller("root"), caller("eve"));
    let queues = Box::new(rm.queues.clone());
    rm.command(ApplicationCommand::ReplaceQueues { token: 1, caller: root, queues });
    rm.command(ApplicationCommand::ReplaceAdminAcl { token: 2, caller: eve, admin_acl: Acl::all() });
    assert_eq!(
        rm.audit,
        [
            "USER=root\tIP=10.9.9.9\tOPERATION=getGroupsForUser\tTARGET=AdminService\tRESULT=SUCCESS",
            "USER=root\tIP=10.9.9.9\tOPERATION=refreshQueues\tTARGET=AdminService\tRESULT=SUCCESS",
            "USER=eve\tIP=10.9.9.9\tOPERATION=refreshAdminAcls\tTARGET=AdminService\tRESULT=FAILURE\t\
             DESCRIPTION=Unauthorized user\tPERMISSIONS=User eve doesn't have permission to call 'refreshAdminAcls'; \
             accepted are the administrators of the cluster (yarn.admin.acl)",
        ]
    );
}

/// Whoever had an administrator's certificate could take nodes out, whatever the administrators' ACL said, and no audit log
/// knew: the shards do it, and they know neither.
#[test]
fn what_others_carry_out_is_admitted_and_audited_here() {
    let mut rm = Rm::with(closed);
    let caller = |name: &str, is_admin| Caller::new(PeerId(1), name, is_admin);
    let opcode = heddle_wire::Opcode::DecommissionNodes as u16;
    for (name, is_admin, expected) in [
        ("root", true, None),
        ("eve", true, Some(RejectCode::AccessControl)),
        ("root", false, Some(RejectCode::RoleNotAllowed)),
    ] {
        let (caller, nodes) = (caller(name, is_admin), "n1:9,n2 and 3 more".into());
        let reply = rm.command(ApplicationCommand::CheckAccess { token: 4, caller, opcode, nodes });
        match (reply, expected) {
            (ApplicationReply::Done { token: 4 }, None) => {}
            (ApplicationReply::Refused { token: 4, code, .. }, Some(expected)) => {
                assert_eq!(code, expected as u16)
            }
            (reply, _) => panic!("{name}: {reply:?}"),
        }
    }
    assert_eq!(rm.audit.len(), 2, "who may is audited when it is done: {:#?}", rm.audit);
    for failure in [None, Some("n1 is no address".into())] {
        let (caller, nodes) = (caller("root", true), "n1:9,n2 and 3 more".into());
        rm.command(ApplicationCommand::Audit { token: 5, caller, opcode, nodes, failure });
    }
    let nodes = "NODES=n1:9,n2 and 3 more";
    let line = "USER=root\tOPERATION=decommissionNodes\tTARGET=AdminService\tRESULT=";
    assert_eq!(rm.audit[2], format!("{line}SUCCESS\t{nodes}"));
    let why = "DESCRIPTION=n1 is no address\tPERMISSIONS=UNKNOWN";
    assert_eq!(rm.audit[3], format!("{line}FAILURE\t{why}\t{nodes}"));
}
