//! Limits on connections.

use crate::config::checked::ConnectionLimits;
use crate::config::file::common::ConnectionLimitsFile;
use crate::config::form::containers::OrOff;
use crate::config::form::units::Count;

pub(super) fn connection_limits(file: &ConnectionLimitsFile) -> ConnectionLimits {
    ConnectionLimits {
        connections: limit(&file.connections),
        connections_per_second: limit(&file.connections_per_second),
        hellos: limit(&file.hellos),
    }
}

pub(super) fn limit<const MIN: u32, const MAX: u32>(file: &OrOff<Count<MIN, MAX>>) -> Option<u32> {
    match file {
        OrOff::Off => None,
        OrOff::On(count) => Some(count.0),
    }
}
