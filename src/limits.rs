//! Limits: amounts that many share and nobody may exceed.
//!
//! [`Budget`] and [`TokenBucket`] are the two measures; [`memory`] computes the amount to share. A
//! [`Limiter`] enforces the [`ConnectionLimits`](crate::config::ConnectionLimits) of one scope of the config (a listener, a route, a
//! source group, a source address). [`Scopes`] keeps the usage of each scope, so that it survives a new
//! config.

mod budget;
mod collector;
mod hysteresis;
mod limiter;
pub mod memory;
mod overload;
mod pruned;
mod rate;
mod scopes;
mod sources;

pub use budget::{Budget, Reserve, Share};
pub use collector::{LimitCollector, LimitUse, NamedUse};
pub use hysteresis::Hysteresis;
pub use limiter::{Held, Limiter, OverLimit};
pub use overload::{LagMeter, Overload, OverloadStep, SharedStep, StepGate};
pub use rate::{TokenBucket, now};
pub use scopes::{ScopeKey, Scopes};
pub use sources::{MAX_SOURCES, SourceLimiter};
