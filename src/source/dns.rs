//! The DNS source: endpoints of an upstream from the A and AAAA records of one name, or from SRV
//! records and the addresses of their targets.
//!
//! **Questions.** The source asks only for names that the config holds and for the targets of their SRV
//! records, never for a name that a client sent. Without `servers` in the config the source follows
//! /etc/resolv.conf as resolv.conf(5) describes: it asks for a name with at least `ndots` dots as it
//! stands first, and for any other name with each domain of the search list first;
//! `x.ns.svc.cluster.local` resolves in a pod either way. With `servers` names are asked as they stand.
//! The source remembers the spelling that answered and asks for it first from then on. With the
//! `ndots:5` of a pod that makes 2 questions a round, not 10. A failure of that spelling is a failure
//! of the round, so an outage never lets another name take its place. /etc/hosts is not read. An alias
//! (CNAME) is followed, up to 8 deep.
//!
//! **Time of the next question.** The smallest TTL of the records used, bounded by `min_ttl` and
//! `max_ttl`, plus or minus 10 %. After a failure 1 s, 2 s, 4 s ... up to 30 s or `max_ttl`, whichever
//! is less.
//!
//! **Changes of the config.** The same question with another policy (`min_ttl`, `max_ttl`,
//! `max_endpoints`, `allow`) keeps its endpoints and is asked again at once; endpoints whose kind is no
//! longer allowed are removed at once. Another question keeps the endpoints of the previous one until
//! it is answered, and counts as stale until then.
//!
//! **Effect of an answer.** No failure of DNS removes the last endpoints, and an answer without any does so only
//! where the config bounds it (`gone_after`):
//!
//! | the answer | endpoints | `strait_source_answers_total` | `strait_source_stale` |
//! |---|---|---|---|
//! | addresses | those | `success` | 0 |
//! | addresses, but a question (a family, an SRV target) failed | those, and for the failed question the ones it last gave | `success` | 1 |
//! | NXDOMAIN, no record, SRV target `.` | stay, for `gone_after` at most | `empty` | 1 |
//! | every address refused by policy | stay | `empty` | 1 |
//! | SERVFAIL, REFUSED, timeout, network error | stay | `failure` | 1 |
//!
//! An upstream without endpoints is never stale: its `strait_source_stale` is 0.
//!
//! An empty answer does not empty the upstream because a headless Service between two rollouts, a zone
//! caught half-loaded and a resolver that lost its API server all look the same, and because connecting
//! to a dead endpoint fails by itself, fast, and is retried on another one. To take an upstream out of
//! service, take its route out of the config.
//!
//! **Refused addresses.** See [`AddressPolicy`].

mod address_policy;
mod answer;
mod lookup;
mod name;
mod resolver;
mod round;
mod schedule;
mod service;
mod task;

pub use address_policy::{AddressPolicy, kind_label};
pub use answer::{Answer, DnsError};
pub use lookup::resolve;
pub use name::NameWatch;
pub use resolver::Resolver;
pub use task::{SourceTask, spawn};

pub use crate::socket::{OwnAddresses, OwnListeners};
