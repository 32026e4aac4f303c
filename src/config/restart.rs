//! Keys whose change takes effect when the process starts again.

use super::checked::Config;

impl Config {
    /// The keys that a restart with this config would change, if the process has started with `started`. Their
    /// values in `started` are in force until then.
    pub fn needs_restart(&self, started: &Self) -> Vec<&'static str> {
        let keys = [
            ("workers", self.workers != started.workers),
            ("admin", self.admin != started.admin),
            ("status", self.status != started.status),
            ("metrics", self.metrics != started.metrics),
            ("resolver", self.resolver != started.resolver),
            ("takeover", self.takeover != started.takeover),
            (
                "access_log.queue",
                self.access_log.queue != started.access_log.queue,
            ),
            (
                "access_log.otlp",
                self.access_log.otlp != started.access_log.otlp,
            ),
            ("log.format", self.log.format != started.log.format),
        ];
        let changed = keys.into_iter().filter(|(_, changed)| *changed);
        changed.map(|(key, _)| key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        let listener = "listeners: [{ name: l, bind: '127.0.0.1:0' }]";
        Config::parse(&format!("{listener}\n{text}\n"), "a test").unwrap()
    }

    #[test]
    fn each_key_that_needs_a_restart_is_named_and_no_other() {
        let started = config("workers: 1\n");
        for (text, keys) in [
            ("workers: 2", &["workers"][..]),
            ("workers: 1\nadmin: { bind: '127.0.0.1:1' }", &["admin"]),
            ("workers: 1\nstatus: off", &["status"]),
            ("workers: 1\nmetrics: off", &["metrics"]),
            (
                "workers: 1\nresolver: { servers: ['127.0.0.1:53'] }",
                &["resolver"],
            ),
            ("workers: 1\ntakeover: { path: /tmp/t }", &["takeover"]),
            (
                "workers: 2\naccess_log: { queue: 128 }\nlog: { format: json }",
                &["workers", "access_log.queue", "log.format"],
            ),
            #[cfg(feature = "otlp")]
            (
                "workers: 1\naccess_log: { otlp: 'http://c:4318' }",
                &["access_log.otlp"],
            ),
            ("workers: 1\nlog: { level: debug }", &[]),
            ("workers: 1\naccess_log: { refused_per_second: 5 }", &[]),
            ("workers: 1\ndrain: { window: 1s }", &[]),
        ] {
            let pending = config(text).needs_restart(&started);
            assert_eq!(pending, keys, "{text}");
        }
    }
}
