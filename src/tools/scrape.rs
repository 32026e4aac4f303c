//! A scraper: it reads the gateway's metrics as Prometheus would.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::wire::connect;

/// The longest time that a scrape over loopback may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// Every sample by its series: `strait_ready`, or `name{label="value"}`.
pub type Samples = BTreeMap<String, f64>;

/// The status and the body of `GET path`.
///
/// # Errors
/// No server answers there, or the answer is not HTTP.
pub async fn get(address: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    let exchange = async {
        let mut stream = connect(address).await?;
        let request = format!("GET {path} HTTP/1.0\r\nhost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await?;
        let (head, body) = reply
            .split_once("\r\n\r\n")
            .ok_or(io::ErrorKind::InvalidData)?;
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok());
        Ok((status.ok_or(io::ErrorKind::InvalidData)?, body.to_owned()))
    };
    timeout(DEADLINE, exchange).await?
}

/// The samples at `address`.
///
/// # Errors
/// Those of [`get`].
pub async fn samples(address: SocketAddr) -> io::Result<Samples> {
    Ok(parse(&get(address, "/metrics").await?.1))
}

/// The samples of a text exposition.
pub fn parse(text: &str) -> Samples {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.rsplit_once(' '))
        .filter_map(|(series, value)| Some((series.to_owned(), value.parse().ok()?)))
        .collect()
}

/// The sum of the series with this `name` that have all of `labels`.
pub fn total(samples: &Samples, name: &str, labels: &[(&str, &str)]) -> f64 {
    let wanted: Vec<String> = labels
        .iter()
        .map(|(label, value)| format!("{label}=\"{value}\""))
        .collect();
    let belongs = |series: &str| {
        let (own, rest) = series.split_once('{').unwrap_or((series, ""));
        own == name && wanted.iter().all(|label| rest.contains(label.as_str()))
    };
    let belonging = samples.iter().filter(|(series, _)| belongs(series));
    // A sum of nothing would be -0, which no number of connections is.
    belonging.fold(0.0, |sum, (_, value)| sum + value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_what_has_the_labels() {
        let text =
            "# HELP a x\n# TYPE a counter\na{b=\"1\",c=\"x y\"} 2\na{b=\"2\",c=\"x y\"} 3\nab 7\n";
        let samples = parse(text);
        assert_eq!(total(&samples, "a", &[]), 5.0);
        assert_eq!(total(&samples, "a", &[("b", "2")]), 3.0);
        assert_eq!(total(&samples, "ab", &[]), 7.0);
        assert_eq!(total(&samples, "a", &[("b", "3")]), 0.0);
    }
}
