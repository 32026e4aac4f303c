//! The size of a connection's future and of its seat: memory for each idle connection.

use super::seat::Seat;
use super::task::serve;

/// The size of the future that a function of three arguments returns.
fn size_of_result<A, B, C, F>(_: fn(A, B, C) -> F) -> usize {
    size_of::<F>()
}

#[test]
fn a_connections_future_does_not_grow_unnoticed() {
    let future = size_of_result(serve as fn(_, _, _) -> _);
    // With what tokio puts around it that is a task of 512 bytes; its next size is 640, since tasks are
    // multiples of 128. More is memory for every idle connection: box what few of them have, and what
    // does not outlive the hello.
    assert!(future <= 408, "{future} bytes");
}

#[test]
fn a_connections_seat_does_not_grow_unnoticed() {
    // With the two counts of its Rc that is an allocation of 80 bytes; the next size is 96.
    let seat = size_of::<Seat>();
    assert!(seat <= 64, "{seat} bytes");
}
