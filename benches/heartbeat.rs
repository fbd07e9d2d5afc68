//! heartbeat
fn main() {}
