//! Long texts of ApplicationMasters and clients: what is taken, what is kept of it, and what says so.

use super::*;
use heddle_wire::limits::DIAGNOSTICS_MAX;

#[test]
fn diagnostics_are_bounded_and_keep_the_end() {
    let mut rm = Rm::with(|settings, _| settings.diagnostics_size_max = 200);
    let (id, first) = rm.running();
    rm.event(ApplicationEvent::Unregistered {
        attempt_id: first,
        final_status: 2,
        diagnostics: format!("{}the end", "ä".repeat(500)).into(),
        diagnostics_cut: 2_000,
        tracking_url: "".into(),
    });
    let text = rm.report(id).diagnostics;
    assert!(text.len() <= 200 && text.ends_with("the end"), "{text}");
    assert!(
        text.starts_with("Diagnostic messages truncated, showing last 103 bytes out of 3007:\nä"),
        "{text}"
    );
}

/// A client that gave a stack trace as its reason was refused; when it was not, the reason pushed out who had killed.
#[test]
fn a_long_reason_to_kill_is_cut_and_says_who_killed() {
    let mut rm = Rm::with(|settings, _| settings.diagnostics_size_max = 1_000);
    let id = rm.running().0;
    let mut request = KillApplicationRequest { application_id: id, diagnostics: None };
    request.diagnostics = Some("€".repeat(DIAGNOSTICS_MAX / 3 + 1));
    rm.send("ada", false, &request);
    let reject = rm.answer::<KillApplicationResponse>().expect_err("longer than the wire carries");
    assert_eq!(reject.code, RejectCode::BadField as u16);
    assert!(
        reject.message.contains("diagnostics") && reject.message.contains("196608"),
        "{}",
        reject.message
    );

    request.diagnostics = Some("€".repeat(DIAGNOSTICS_MAX / 3));
    rm.send("ada", false, &request);
    rm.answer::<KillApplicationResponse>().expect("taken");
    let text = rm.report(id).diagnostics;
    let said = format!("was killed by user ada with diagnostic message: {}", "€".repeat(166));
    let rest = DIAGNOSTICS_MAX - 498;
    assert_eq!(text, format!("Application {id} {said} ({rest} bytes more are not kept)"));
}
