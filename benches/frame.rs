//! frame
fn main() {}
