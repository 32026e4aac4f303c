//! Limits: what many take from and nobody may overdraw.

mod budget;
mod rate;

pub use budget::{Budget, Share};
pub use rate::{RateLimit, TokenBucket, now};
