//! Endpoints out of DNS: A and AAAA of one name, or SRV and the addresses of its targets.
//!
//! **What is asked.** Only names that the config holds, and the targets of their SRV records; never
//! a name that a client sent. Without `servers` in the config /etc/resolv.conf is followed as
//! resolv.conf(5) describes: a name with at least `ndots` dots is asked as it stands first, another
//! one with each domain of the search list first; `x.ns.svc.cluster.local` resolves in a pod either
//! way. With `servers` names are asked as they stand. The spelling that answered is remembered and
//! asked first from then on: with the `ndots:5` of a pod that is 2 questions a round, not 10, and a
//! failure of that spelling is a failure, so that an outage never lets another name take its
//! place. /etc/hosts is not read. An alias (CNAME) is followed, up to 8 deep.
//!
//! **When it is asked again.** After the smallest TTL of the records used, held within `min_ttl` and
//! `max_ttl`, give or take 10 %. After a failure in 1 s, 2 s, 4 s ... up to 30 s or `max_ttl`,
//! whichever is less.
//!
//! **When the config changes.** The same question with another policy (`min_ttl`, `max_ttl`,
//! `max_endpoints`, `allow`) keeps its endpoints and is asked again at once; endpoints whose kind is
//! not allowed any more go at once. Another question has the endpoints of the one before until it is
//! answered, and is stale until then.
//!
//! **What an answer changes.** Nothing that DNS says or fails to say takes the last endpoints away:
//!
//! | the answer | endpoints | `strait_source_answers_total` | `strait_source_stale` |
//! |---|---|---|---|
//! | addresses | those | `success` | 0 |
//! | addresses, but a question (a family, an SRV target) failed | those, and for the failed question the ones it last gave | `success` | 1 |
//! | NXDOMAIN, no record, SRV target `.` | stay | `empty` | 1 |
//! | every address refused by policy | stay | `empty` | 1 |
//! | SERVFAIL, REFUSED, timeout, network error | stay | `failure` | 1 |
//!
//! With nothing to serve there is nothing stale: an upstream without endpoints has
//! `strait_source_stale` 0.
//!
//! An empty answer does not empty the upstream because a headless Service between two rollouts, a
//! zone caught half-loaded and a resolver that lost its API server all look the same, and because
//! connecting to a dead endpoint fails by itself, fast, and is retried on another one. To take an
//! upstream out of service, take its route out of the config.
//!
//! **What is refused.** See [`AddressPolicy`].

mod address_policy;
mod answer;
mod lookup;
mod resolver;
mod round;
mod schedule;
mod service;
mod task;

pub use address_policy::{AddressPolicy, kind_label};
pub use answer::{Answer, DnsError};
pub use lookup::resolve;
pub use resolver::Resolver;
pub use task::{SourceTask, spawn};

pub use crate::socket::{OwnAddresses, OwnListeners};
