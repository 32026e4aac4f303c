//! Limits on connections.

use crate::config::checked::ConnectionLimits;
use crate::config::file::common::ConnectionLimitsFile;

pub(super) fn connection_limits(file: &ConnectionLimitsFile) -> ConnectionLimits {
    ConnectionLimits {
        connections: file.connections.on(),
        connections_per_second: file.connections_per_second.on(),
        hellos: file.hellos.on(),
    }
}
