//! The `strait` program.

fn main() {}
