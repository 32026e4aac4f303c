//! The saved state: the records of the cluster in a file, for a container that starts again in its pod
//! while the API does not answer.
//!
//! The file holds records, not the routes that follow from them: after the start the API replaces one kind
//! at a time, and its events change single objects. Each record is written as the object that the API
//! would send, cut down to the fields that the record has. So the parser of the API's answers reads the
//! file too, with the same checks, and a file can do no more than an API server could.
//!
//! | part | content |
//! |---|---|
//! | [`object`] | a record as an object in the API's form (pure); [`metadata`], [`kubernetes_kinds`], [`istio_kinds`], [`connections`] and [`entries`] are its parts |
//! | [`age`] | the time when the API confirmed a state, and the age that follows (pure, but for the clocks) |
//! | [`format`] | the lines of the file, with the checks of a file that is read (pure) |
//! | [`store`] | the read, and the write that replaces the file as a whole |
//! | [`schedule`] | the time of the next write (pure) |

mod age;
mod connections;
mod entries;
mod format;
mod istio_kinds;
mod kubernetes_kinds;
mod metadata;
mod object;
mod schedule;
mod store;

pub(super) use age::ClockTime;
#[cfg(test)]
pub(super) use format::Unusable;
pub(super) use format::{ClusterPart, KindState, SavedState, StateOrigin, decode, encode};
pub(super) use schedule::SaveSchedule;
pub(super) use store::{read, write};
