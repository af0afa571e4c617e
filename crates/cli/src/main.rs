//! The `phineus` program.
fn main() {}
