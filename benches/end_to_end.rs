//! end_to_end
fn main() {}
