//! What a connection's future takes: memory for each idle connection.

use super::serve_connection;

/// The size of what a function of five arguments returns, here a future.
fn size_of_result<A, B, C, D, E, F>(_: fn(A, B, C, D, E) -> F) -> usize {
    size_of::<F>()
}

#[test]
fn a_connections_future_does_not_grow_unnoticed() {
    let future = size_of_result(serve_connection as fn(_, _, _, _, _) -> _);
    // More is bytes for every idle connection: box what does not outlive the hello.
    assert!(future <= 920, "{future} bytes");
}
