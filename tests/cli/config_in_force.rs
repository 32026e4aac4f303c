//! The config in force and the file that was refused after it, as a running gateway tells of them.

use serde_json::Value;
use strait::config::Config;

use crate::program::{err, out, strait};
use crate::support::client::open;
use crate::support::config_text::ConfigText;
use crate::support::gateway::get;
use crate::support::process::{Folder, Process};
use crate::support::server::{Server, read_exactly};
use crate::support::wait_until;

fn file_of(process: &Process) -> Value {
    let (_, dump) = get(process.server("admin"), "/config_dump").unwrap();
    let dump: Value = serde_json::from_str(&dump).unwrap();
    dump["file"].clone()
}

#[test]
fn a_refused_file_is_told_problem_by_problem_until_a_good_one_comes() {
    let echo = Server::echo();
    let good = ConfigText::to(&[echo.address]);
    let folder = Folder::create();
    let path = folder.file("strait.yaml", &good.text());
    let process = Process::of_file(&path);
    let first = file_of(&process);
    assert_eq!(first["refused"], Value::Null);
    let in_force = &first["in_force"];
    assert_eq!(in_force["generation"], 1);
    assert_eq!(in_force["path"], path.to_str().unwrap());
    assert_eq!(in_force["changes"][0], "+1 listener (east-west)");
    let hash = in_force["sha256"].as_str().unwrap().to_owned();
    assert_eq!(hash.len(), 64);
    let line = process.wait_for("config in force");
    assert!(
        line.contains("INFO") && line.contains(&hash[..12]),
        "{line}"
    );

    let bad = good.text().replace("upstream: svcb", "upstrem: svcb");
    folder.file("strait.yaml", &bad.replace("alpn: any", "alpn: itsio"));
    wait_until("it refuses", || process.said("config refused") > 0);
    let line = process.wait_for("config refused");
    assert!(
        line.contains("problems=3") && !line.contains("upstrem"),
        "{line}"
    );
    let line = process.wait_for("upstrem");
    for tell in [
        "ERROR",
        "a problem of the refused config",
        "line=4",
        "key=\"listeners[0].routes[0].upstrem\"",
        "problem=\"unknown key\"",
        "remedy=\"did you mean",
    ] {
        assert!(line.contains(tell), "no {tell:?} in {line}");
    }
    wait_until("it tells all problems", || {
        process.said("a problem of the refused config") >= 3
    });
    assert_eq!(process.said("a problem of the refused config"), 3);
    assert_eq!(process.metric("strait_config_refused_problems", &[]), 3.0);
    let refused = file_of(&process);
    assert_eq!(refused["in_force"], first["in_force"]);
    let problems = refused["refused"]["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 3);
    for problem in problems {
        assert_eq!(problem["line"], 4);
        assert!(problem["column"].as_u64().unwrap() > 1, "{problem}");
        assert!(
            problem["message"].is_string() && problem["key"].is_string(),
            "{problem}"
        );
    }
    assert_ne!(refused["refused"]["sha256"], *hash);

    let other = good
        .clone()
        .routes("[{ sni: new.example, alpn: any, upstream: svcb }]");
    folder.file("strait.yaml", &other.top("workers: 7").text());
    let line = process.wait_for("config reloaded");
    for tell in [
        "INFO",
        "generation=2",
        "+1 route (new.example)",
        "-1 route (",
        "took=",
    ] {
        assert!(line.contains(tell), "no {tell:?} in {line}");
    }
    let reloaded = file_of(&process);
    assert_eq!(reloaded["refused"], Value::Null);
    assert_eq!(reloaded["in_force"]["generation"], 2);
    let changes = reloaded["in_force"]["changes"].to_string();
    assert!(changes.contains("+1 route (new.example)"), "{changes}");
    assert!(changes.contains("~workers"), "{changes}");
    let pending = &reloaded["in_force"]["restart_pending"];
    assert_eq!(*pending, serde_json::json!(["workers"]));
    assert_eq!(process.metric("strait_config_refused_problems", &[]), 0.0);
    assert_eq!(process.said("effective config"), 0, "only at debug");
}

#[test]
fn a_good_file_that_cannot_come_into_force_is_refused_with_the_reason() {
    let echo = Server::echo();
    let good = ConfigText::to(&[echo.address]);
    let folder = Folder::create();
    let path = folder.file("strait.yaml", &good.text());
    let process = Process::of_file(&path);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    folder.file("strait.yaml", &good.bind(address).text());
    process.wait_for("a problem of the refused config");
    let refused = file_of(&process)["refused"].clone();
    let problem = &refused["problems"][0];
    let message = problem["message"].as_str().unwrap();
    assert!(
        message.contains(&format!("cannot listen on {address}")),
        "{message}"
    );
    assert_eq!(problem["line"], 0);
    assert_eq!(refused["path"], path.to_str().unwrap());
    assert_eq!(refused["sha256"].as_str().unwrap().len(), 64);
}

#[test]
fn the_config_in_force_can_be_pasted_back_and_compared() {
    let echo = Server::echo();
    let text = ConfigText::to(&[echo.address]).text();
    let folder = Folder::create();
    let path = folder.file("strait.yaml", &text);
    let process = Process::of_file(&path);
    let admin = process.server("admin");
    let (status, config) = get(admin, "/config").unwrap();
    assert_eq!(status, 200);
    let head = format!("# {}, generation 1, loaded ", path.display());
    assert!(config.starts_with(&head), "{config}");
    assert!(
        config.contains("\n    # client_hello:\n    #   timeout: 5s\n"),
        "{config}"
    );
    let pasted = folder.file("pasted.yaml", &config);
    assert_eq!(Config::load(&pasted).unwrap(), Config::load(&path).unwrap());
    let output = strait(&["check", pasted.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let (_, short) = get(admin, "/config?defaults=false").unwrap();
    assert!(short.len() < config.len() / 3, "{short}");
    let (status, wrong) = get(admin, "/config?default=false").unwrap();
    assert_eq!(status, 400, "{wrong}");

    let admin = admin.to_string();
    let diff = |file: &str| strait(&["diff", "--live", "--admin", &admin, file]);
    let same = diff(pasted.to_str().unwrap());
    assert_eq!(
        out(&same),
        "no client gains or loses reach\n",
        "{}",
        err(&same)
    );
    assert_eq!(same.status.code(), Some(0));
    let other = text.replace("alpn: any", "alpn: [h2]");
    let other = folder.file("other.yaml", &other);
    let differs = diff(other.to_str().unwrap());
    assert_eq!(differs.status.code(), Some(1), "{}", err(&differs));
    assert!(
        out(&differs).contains("do not reach upstream svcb any more"),
        "{}",
        out(&differs)
    );
    for arguments in [&["diff", "a"][..], &["diff", "--live", "a", "b"]] {
        let output = strait(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn explain_asks_the_running_gateway() {
    let echo = Server::echo();
    let mut config = ConfigText::to(&[echo.address]);
    config = config.listener("allow_sources: [127.0.0.0/8]");
    let process = Process::start(&config);
    let admin = process.server("admin").to_string();
    let name = "svcb.apps.svc.cluster.local";
    let ask = |arguments: &[&str]| {
        strait(&[&["explain", "--live", "--admin", &admin][..], arguments].concat())
    };
    let (mut client, length) = open(process.address);
    read_exactly(&mut client, length);
    drop(client);
    let explained = || {
        let output = ask(&["--sni", name, "--alpn", "istio"]);
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
        out(&output)
    };
    let mut text = String::new();
    wait_until("its end is shown, and that nothing is open", || {
        text = explained();
        text.contains("OUTCOME") && text.contains(", ready, 0 open\n")
    });
    for line in [
        "listener east-west\n",
        "  skipped      the source is not given (from=); this listener admits 127.0.0.0/8 only\n",
        "  decision     the connection would be relayed\n",
        "  upstream     svcb\n",
        &format!("  endpoints    {}, ready, 0 open\n", echo.address),
        "the last connections with this server name:\n",
        " ok ",
    ] {
        assert!(text.contains(line), "no {line:?} in\n{text}");
    }
    let output = ask(&["--sni", "svcx.apps.svc.cluster.local"]);
    assert_eq!(output.status.code(), Some(1));
    let text = out(&output);
    assert!(
        text.contains("  refused      no_route\n") && text.contains("  nearest  "),
        "{text}"
    );
    let output = ask(&["--sni", name, "--from", "10.0.0.1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        out(&output).contains("`allow_sources` does not have 10.0.0.1"),
        "{}",
        out(&output)
    );
    let output = strait(&["explain", "--admin", &admin, "--sni", name]);
    assert_eq!(output.status.code(), Some(2), "--admin without --live");
}
