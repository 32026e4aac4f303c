//! The catalogue of the report's numbers: the source, the label and the better direction of each.

/// The direction in which a number is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// Higher, for a rate.
    Higher,
    /// Lower, for a latency.
    Lower,
}

impl Better {
    /// The word in the table.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Higher => "higher",
            Self::Lower => "lower",
        }
    }
}

/// One number of one kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Number {
    /// The kind of work, as on the command line.
    pub work: &'static str,
    /// The value's name in the results.
    pub value: &'static str,
    /// The label for the reader.
    pub label: &'static str,
    /// The unit of the printed value.
    pub unit: &'static str,
    /// The direction in which it is better.
    pub better: Better,
}

const fn higher(
    work: &'static str,
    value: &'static str,
    label: &'static str,
    unit: &'static str,
) -> Number {
    Number {
        work,
        value,
        label,
        unit,
        better: Better::Higher,
    }
}

const fn lower(
    work: &'static str,
    value: &'static str,
    label: &'static str,
    unit: &'static str,
) -> Number {
    Number {
        work,
        value,
        label,
        unit,
        better: Better::Lower,
    }
}

/// The numbers of messages of one size beside small ones.
macro_rules! beside {
    ($bytes:literal, $size:literal) => {
        [
            higher(
                concat!("beside-", $bytes),
                "rate",
                concat!($size, " beside 64 B"),
                "1/s",
            ),
            lower(
                concat!("beside-", $bytes),
                "p99_us",
                concat!($size, " beside 64 B, p99"),
                "us",
            ),
            lower(
                concat!("beside-", $bytes),
                "small_p99_us",
                concat!("64 B beside ", $size, ", p99"),
                "us",
            ),
        ]
    };
}

/// The rows of the matrix, three for each of its sizes.
pub const MATRIX: [[Number; 3]; 8] = [
    beside!("64", "64 B"),
    beside!("1024", "1 KiB"),
    beside!("4096", "4 KiB"),
    beside!("12288", "12 KiB"),
    beside!("16384", "16 KiB"),
    beside!("32768", "32 KiB"),
    beside!("65536", "64 KiB"),
    beside!("262144", "256 KiB"),
];

/// The numbers of a burst of sessions.
macro_rules! burst {
    ($sessions:literal, $label:literal) => {
        [
            lower(
                concat!("burst-", $sessions),
                "idle_kib",
                concat!("memory per session, ", $label),
                "KiB",
            ),
            lower(
                concat!("burst-", $sessions),
                "slope_kib",
                concat!("memory per session more, ", $label),
                "KiB",
            ),
            lower(
                concat!("burst-", $sessions),
                "left_mib",
                concat!("memory kept 10 s after ", $label),
                "MiB",
            ),
        ]
    };
}

/// The rows of the bursts.
const BURSTS: [[Number; 3]; 4] = [
    burst!("1000", "1,000 at once"),
    burst!("4000", "4,000 at once"),
    burst!("9000", "9,000 at once"),
    burst!("50000", "50,000 at once"),
];

/// The report's other rows.
const NUMBERS: &[Number] = &[
    higher("bulk-down-1", "gbps", "bulk down, 1 stream", "Gb/s"),
    higher("bulk-down-16", "gbps", "bulk down, 16 streams", "Gb/s"),
    lower(
        "bulk-down-16",
        "cpu_ms_per_gb",
        "bulk down, 16, CPU time",
        "ms/GB",
    ),
    higher("bulk-down-64", "gbps", "bulk down, 64 streams", "Gb/s"),
    higher("bulk-up-1", "gbps", "bulk up, 1 stream", "Gb/s"),
    higher("bulk-up-16", "gbps", "bulk up, 16 streams", "Gb/s"),
    lower(
        "bulk-up-16",
        "cpu_ms_per_gb",
        "bulk up, 16, CPU time",
        "ms/GB",
    ),
    higher("bulk-up-64", "gbps", "bulk up, 64 streams", "Gb/s"),
    higher("connect", "rate", "new connections", "1/s"),
    lower("connect", "p99_us", "new connection, p99", "us"),
    lower("connect", "cpu_us", "new connection, CPU time", "us"),
    lower("ping-1", "p50_us", "ping-pong alone, p50", "us"),
    lower("ping-1", "p99_us", "ping-pong alone, p99", "us"),
    lower("ping-1", "p999_us", "ping-pong alone, p999", "us"),
    higher("ping-64", "rate", "ping-pong, 64 connections", "1/s"),
    lower("ping-64", "p50_us", "ping-pong, 64, p50", "us"),
    lower("ping-64", "p99_us", "ping-pong, 64, p99", "us"),
    lower("ping-64", "p999_us", "ping-pong, 64, p999", "us"),
    lower("mixed", "p50_us", "ping-pong beside bulk, p50", "us"),
    lower("mixed", "p99_us", "ping-pong beside bulk, p99", "us"),
    lower("mixed", "p999_us", "ping-pong beside bulk, p999", "us"),
    higher("mixed", "gbps", "the bulk beside it, 16 streams", "Gb/s"),
    lower("mixed", "loss_percent", "what the bulk loses by it", "%"),
    lower("memory", "idle_kib", "memory per idle connection", "KiB"),
    lower("memory", "rest_mib", "memory at rest", "MiB"),
    lower("scale", "start_ms", "100,000 routes: start", "ms"),
    lower(
        "scale",
        "route_bytes",
        "100,000 routes: memory of each",
        "bytes",
    ),
    lower(
        "scale",
        "rest_mib",
        "with 10,000 upstreams too: memory",
        "MiB",
    ),
    lower("scale", "swap_ms", "config swap: until it serves", "ms"),
    lower(
        "scale",
        "before_p99_us",
        "ping-pong p99 before the swap",
        "us",
    ),
    lower(
        "scale",
        "during_p99_us",
        "ping-pong p99 during the swap",
        "us",
    ),
    lower(
        "scale",
        "p99_growth",
        "ping-pong p99, during by before",
        "times",
    ),
    lower("scale", "scrape_ms", "scrape of all metrics", "ms"),
    lower("scale", "scrape_mib", "size of the scrape", "MiB"),
];

/// All rows, in their order.
pub fn numbers() -> impl Iterator<Item = &'static Number> {
    let others = MATRIX.iter().chain(&BURSTS).flatten();
    NUMBERS.iter().chain(others)
}

/// The number for this work and value.
pub fn number(work: &str, value: &str) -> Option<&'static Number> {
    numbers().find(|one| one.work == work && one.value == value)
}
