//! The status page in a real browser: no sideways scroll, readable colours, and screenshots for people to look at.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};
use strait::drain::DrainPhase;
use tokio::time::Instant;

use crate::operator::http::Gateway;
use crate::page_world::{large, serve, troubled};
use crate::support::process::Folder;

/// The time that a browser may take for one answer, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running Chromium. It is spoken to in the DevTools protocol over two pipes.
struct Browser {
    process: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    asked: u64,
    session: Option<String>,
    _profile: Folder,
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Browser {
    fn start() -> Self {
        let profile = Folder::create();
        // Chromium takes the protocol on descriptor 3 and answers on 4.
        let script = "exec chromium --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
            --hide-scrollbars --remote-debugging-pipe --user-data-dir=\"$0\" about:blank \
            3<&0 4>&1 </dev/null >/dev/null 2>&1";
        let mut process = Command::new("sh")
            .args(["-c", script])
            .arg(profile.path("profile"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let to = process.stdin.take().unwrap();
        let from = messages(process.stdout.take().unwrap());
        let mut browser = Self {
            process,
            to,
            from,
            asked: 0,
            session: None,
            _profile: profile,
        };
        let target = browser.ask("Target.createTarget", &json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.ask("Target.attachToTarget", &attach);
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        browser.ask("Page.enable", &json!({}));
        browser
    }

    fn next(&self, deadline: std::time::Instant) -> Value {
        let left = deadline.saturating_duration_since(std::time::Instant::now());
        self.from
            .recv_timeout(left)
            .expect("Chromium answers (is the Debian package chromium there?)")
    }

    fn send(&mut self, method: &str, parameters: &Value) -> u64 {
        self.asked += 1;
        let mut message = json!({ "id": self.asked, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.to
            .write_all(format!("{message}\0").as_bytes())
            .unwrap();
        self.asked
    }

    fn ask(&mut self, method: &str, parameters: &Value) -> Value {
        let id = self.send(method, parameters);
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let message = self.next(deadline);
            if message["id"] == id {
                assert!(message.get("error").is_none(), "{method}: {message}");
                return message["result"].clone();
            }
        }
    }

    /// Loads a page in a window of this width, light or dark.
    fn load(&mut self, url: &str, width: u32, scheme: &str) {
        let metrics =
            json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.ask("Emulation.setDeviceMetricsOverride", &metrics);
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.ask(
            "Emulation.setEmulatedMedia",
            &json!({ "features": features }),
        );
        self.send("Page.navigate", &json!({ "url": url }));
        let deadline = std::time::Instant::now() + PATIENCE;
        while self.next(deadline)["method"] != "Page.loadEventFired" {}
    }

    fn evaluate(&mut self, script: &str) -> Value {
        let parameters = json!({ "expression": script, "returnByValue": true });
        let answer = self.ask("Runtime.evaluate", &parameters);
        assert!(answer.get("exceptionDetails").is_none(), "{answer}");
        answer["result"]["value"].clone()
    }

    fn screenshot(&mut self, name: &str) {
        let answer = self.ask(
            "Page.captureScreenshot",
            &json!({ "captureBeyondViewport": true }),
        );
        let image = base64::engine::general_purpose::STANDARD
            .decode(answer["data"].as_str().unwrap())
            .unwrap();
        assert!(image.len() > 1000, "{name}: an image");
        let folder = screenshots();
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{name}.png")), image).unwrap();
    }
}

fn screenshots() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("status-page")
}

/// The messages of a pipe; each ends with a zero byte.
fn messages(pipe: ChildStdout) -> Receiver<Value> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for message in BufReader::new(pipe).split(0).map_while(Result::ok) {
            if let Ok(message) = serde_json::from_slice(&message) {
                let _ = sender.send(message);
            }
        }
    });
    receiver
}

/// Texts that are hard to read: those with a contrast to what is behind them below 4.5.
const PALE: &str = r#"(() => {
  const parse = (text) => {
    const numbers = text.match(/[\d.]+/g).map(Number);
    return text.startsWith('color(') ? [...numbers.slice(0, 3).map((n) => n * 255), numbers[3] ?? 1] : [...numbers, 1].slice(0, 4);
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3]));
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) layers.push(parse(getComputedStyle(e).backgroundColor));
    return layers.reverse().reduce((below, layer) => over(layer, below), matchMedia('(prefers-color-scheme: dark)').matches ? [0, 0, 0] : [255, 255, 255]);
  };
  const pale = [];
  let seen = 0;
  for (const element of document.querySelectorAll('body *')) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    const box = element.getBoundingClientRect();
    if (!own || !box.width || !box.height || element.closest('.vh, .skip, title')) continue;
    const style = getComputedStyle(element);
    if (style.visibility !== 'visible') continue;
    seen += 1;
    const below = behind(element);
    const ink = over(parse(element.closest('svg') ? style.fill : style.color), below);
    const [a, b] = [light(ink), light(below)].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < 4.5) pale.push(`${contrast.toFixed(2)} ${element.tagName}.${element.className.baseVal ?? element.className}: ${element.textContent.slice(0, 40)}`);
  }
  return { seen, pale };
})()"#;

/// The elements that are wider than the window, or that scroll inside of it.
const WIDE: &str = r"(() => {
  const wide = [];
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > width) {
    for (const element of document.querySelectorAll('body *')) {
      const right = element.getBoundingClientRect().right;
      if (right > width + 1 && !element.closest('svg, .vh, .skip')) wide.push(`${element.tagName}.${element.className}: ${right.toFixed()} of ${width}: ${element.textContent.slice(0, 40)}`);
    }
    wide.push(`the page: ${document.documentElement.scrollWidth} of ${width}`);
  }
  for (const box of document.querySelectorAll('.tw')) {
    if (box.scrollWidth > box.clientWidth + 1) wide.push(`${box.querySelector('h2').textContent}: ${box.scrollWidth} of ${box.clientWidth}`);
  }
  return wide;
})()";

/// Loads a page at each width and in each scheme, and judges it.
fn judge(browser: &mut Browser, name: &str, address: SocketAddr, query: &str) {
    for (width, scheme) in [
        (1400, "light"),
        (1400, "dark"),
        (390, "light"),
        (390, "dark"),
        (900, "light"),
    ] {
        browser.load(&format!("http://{address}/{query}"), width, scheme);
        let wide = browser.evaluate(WIDE);
        browser.screenshot(&format!("{name}-{width}-{scheme}"));
        assert_eq!(wide, json!([]), "{name}, {width} wide, scrolls sideways");
        let judged = browser.evaluate(PALE);
        assert_eq!(judged["pale"], json!([]), "{name}, {width} wide, {scheme}");
        assert!(judged["seen"].as_u64().unwrap() > 50, "{judged}");
        let scripts = browser.evaluate("document.scripts.length + document.images.length");
        assert_eq!(scripts, 0, "the page has no script and loads nothing");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_browser_shows_it_without_sideways_scroll_and_in_colours_that_can_be_read() {
    let start = Instant::now();
    let empty = Gateway::ready();
    let draining = Gateway::ready();
    draining.trigger.advance(DrainPhase::Announced);
    draining.trigger.advance(DrainPhase::Draining {
        deadline: Instant::now() + Duration::from_secs(15),
    });
    let gateways = [
        ("troubled", troubled(60), ""),
        ("young", troubled(0), "?q=finance"),
        ("empty", empty, ""),
        ("draining", draining, ""),
        ("large", large(5000), ""),
    ];
    let mut served = Vec::new();
    for (name, gateway, query) in gateways {
        served.push((name, serve(&gateway).await, query, gateway));
    }
    let judged = tokio::task::spawn_blocking(move || {
        let mut browser = Browser::start();
        for (name, address, query, _gateway) in &served {
            judge(&mut browser, name, *address, query);
        }
        // The words that a person sees first.
        let (_, address, ..) = &served[0];
        browser.load(&format!("http://{address}/"), 1400, "light");
        let title = browser.evaluate("document.title");
        assert!(title.as_str().unwrap().contains("failing"), "{title}");
        let first = browser.evaluate("document.querySelector('.troubles h3').textContent");
        assert_eq!(
            first,
            "Every call to ledger.finance:9090 fails: no_endpoint"
        );
        let heads = browser.evaluate("[...document.querySelectorAll('table')].every((table) => table.caption && table.querySelector('th[scope=col]') && table.querySelector('th[scope=row]'))");
        assert_eq!(
            heads, true,
            "each table has a caption, and heads with a scope"
        );
    });
    judged.await.unwrap();
    println!(
        "looked at in {:?}; screenshots in {}",
        start.elapsed(),
        screenshots().display()
    );
}
