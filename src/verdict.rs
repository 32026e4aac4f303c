//! The verdict: the reason why a connection that relayed has ended, judged from what both sides sent.
//!
//! strait cannot decrypt. But the headers of TLS records are in the clear, and so are the handshake up to the
//! ServerHello and all of it in TLS 1.2. [`FlightWatch`] reads them as the bytes pass, and keeps [`Flights`]: who
//! spoke, in which order, and what the lengths of the records say of it. [`judge`] is a pure function from
//! those and the end to the [`EndVerdict`], which says whether it was seen or is inferred. In doubt an end is
//! ordinary.
//!
//! `tests/flights/` holds what real clients and servers sent, as types and lengths of records, with the
//! verdict that each must get; a new client's case is captured into it, or a new file there.

mod certificate;
mod evidence;
mod flights;
mod judge;
mod lengths;
mod names;
mod records;
mod server_hello;
mod side;
#[cfg(test)]
mod table;
#[cfg(test)]
mod tests;
mod watch;

pub use certificate::SeenCertificate;
pub use evidence::Evidence;
pub use flights::{Confidence, Flights, HandshakeStage, Resumption};
pub use judge::{End, EndVerdict, judge};
pub use lengths::answers_are_long;
pub use names::{alert_name, cipher_name, group_name};
pub use side::{FirstBytes, Side};
pub use watch::FlightWatch;
