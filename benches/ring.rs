//! ring
fn main() {}
