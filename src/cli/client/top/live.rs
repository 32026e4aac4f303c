//! The loop of `strait top`: keys, signals, looks at the gateway and changes of it.

use std::error::Error;
use std::future::pending;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ratatui_crossterm::crossterm::event::{self, Event, KeyEventKind};
use rustix::process::{Signal, getpid, kill_process};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::signal::unix::{Signal as SignalStream, SignalKind, signal};
use tokio::sync::mpsc;

use super::explained;
use super::ink::TopInk;
use super::model::{TopAct, TopAnswers, TopChange, TopModel, TopRequest};
use super::paint;
use super::screen::TopScreen;
use super::view::TopView;
use crate::cli::client::admin::{Admin, Reply};
use crate::cli::count;
use crate::clock;

/// Events of the terminal that wait.
const EVENTS: usize = 64;
/// The time after which the reader of events looks whether it is still wanted.
const WANTED: Duration = Duration::from_millis(200);
/// The time between the first two looks at a view, since rates need two.
pub(super) const SECOND_LOOK: Duration = Duration::from_secs(1);

type TopError = Box<dyn Error>;
type Waiting<'a, T> = Option<Pin<Box<dyn Future<Output = T> + 'a>>>;

/// Asks for what a view needs.
///
/// # Errors
/// The gateway does not answer, or in another form.
pub(super) async fn look(
    admin: &Admin,
    view: TopView,
    (overview, more): (String, Option<String>),
    since: Instant,
) -> Result<TopAnswers, TopError> {
    let mut answers = TopAnswers {
        overview: parsed(admin.get(&overview).await?)?,
        ..TopAnswers::default()
    };
    if let Some(path) = more {
        let reply = admin.get(&path).await?;
        match view {
            TopView::Sources => answers.sources = Some(parsed(reply)?),
            TopView::Connections => answers.connections = Some(parsed(reply)?),
            TopView::Routes | TopView::Endpoints | TopView::Troubles => {
                answers.found = Some(parsed(reply)?);
            }
        }
    }
    answers.at = clock::millis(since.elapsed());
    Ok(answers)
}

fn parsed<T: DeserializeOwned>(reply: Reply) -> Result<T, TopError> {
    let text = reply.text()?;
    serde_json::from_str(&text).map_err(|error| {
        format!("the gateway's answer is not understood; is it of another version? {error}").into()
    })
}

/// Answers to what is not a look.
enum Answered {
    Acted(Result<String, String>),
    Explained(String, Result<Vec<String>, String>),
}

async fn act(admin: &Admin, act: TopAct) -> Answered {
    let done = async {
        match act.change {
            TopChange::End => {
                let reply = admin.delete(&act.path).await?;
                let body: Value = serde_json::from_str(&reply.any_text()).unwrap_or_default();
                match body.get("ended").and_then(Value::as_u64) {
                    Some(0) => Ok("none of them is open any more".to_owned()),
                    Some(ended) => {
                        let ended = usize::try_from(ended).unwrap_or(usize::MAX);
                        Ok(format!("{} ended", count(ended, "connection")))
                    }
                    None => reply.text(),
                }
            }
            TopChange::Endpoint => {
                let endpoint = admin.post(&act.path).await?.json()?;
                let cell = |key: &str| endpoint.get(key).and_then(Value::as_str);
                let (address, state) = (cell("address"), cell("state"));
                Ok(format!(
                    "{} is {} now",
                    address.unwrap_or("it"),
                    state.unwrap_or("changed")
                ))
            }
        }
    };
    let done: Result<String, TopError> = done.await;
    Answered::Acted(done.map_err(|error| error.to_string()))
}

async fn explain(admin: &Admin, title: String, path: String) -> Answered {
    let asked = async { admin.get(&path).await?.json() };
    let lines = asked
        .await
        .map(|explanation| explained::lines(&explanation));
    Answered::Explained(title, lines.map_err(|error| error.to_string()))
}

/// TopSignals that end or continue the process.
struct TopSignals {
    ends: [SignalStream; 4],
    continues: SignalStream,
}

impl TopSignals {
    fn new() -> io::Result<Self> {
        let continues = SignalKind::from_raw(Signal::CONT.as_raw());
        Ok(Self {
            ends: [
                signal(SignalKind::terminate())?,
                signal(SignalKind::interrupt())?,
                signal(SignalKind::hangup())?,
                signal(SignalKind::quit())?,
            ],
            continues: signal(continues)?,
        })
    }

    async fn end(ends: &mut [SignalStream; 4]) {
        let [terminate, interrupt, hangup, quit] = ends;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
            _ = quit.recv() => {}
        }
    }
}

/// Reads the terminal's events on a thread of its own. The channel closes when the terminal is gone.
fn events() -> (mpsc::Receiver<Event>, Arc<AtomicBool>) {
    let (sender, receiver) = mpsc::channel(EVENTS);
    let wanted = Arc::new(AtomicBool::new(true));
    let still = wanted.clone();
    thread::spawn(move || {
        while still.load(Ordering::Relaxed) {
            match event::poll(WANTED) {
                Ok(false) => {}
                Ok(true) => {
                    let sent = event::read().map(|event| sender.blocking_send(event));
                    if !matches!(sent, Ok(Ok(()))) {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    });
    (receiver, wanted)
}

/// Shows the gateway until somebody quits.
///
/// # Errors
/// The terminal does not obey.
pub(super) async fn run(admin: &Admin, mut model: TopModel, ink: TopInk) -> Result<(), TopError> {
    let since = Instant::now();
    let mut signals = TopSignals::new()?;
    let mut screen = TopScreen::enter()?;
    let (mut events, wanted) = events();
    let mut looking: Waiting<'_, (TopView, Result<TopAnswers, TopError>)> = None;
    // While a change is asked for, `TopModel::key` lets nothing take its place.
    let mut asking: Waiting<'_, Answered> = None;
    let mut next = tokio::time::Instant::now();
    loop {
        model.fit(paint::rows(screen.height()));
        screen.draw(|buffer| paint::draw(&model, buffer, ink, clock::millis(since.elapsed())))?;
        let mut request = None;
        tokio::select! {
            event = events.recv() => match event {
                Some(Event::Key(key)) if key.kind == KeyEventKind::Press => request = model.key(key),
                Some(_) => {}
                None => break,
            },
            () = TopSignals::end(&mut signals.ends) => break,
            _ = signals.continues.recv() => screen.again()?,
            (view, answers) = waited(&mut looking) => {
                looking = None;
                // Rates need two looks, so the second comes soon.
                let first = model.look.as_ref().is_none_or(|look| look.view != view);
                let pause = match first {
                    true => SECOND_LOOK,
                    false => Duration::from_secs(model.interval),
                };
                next = tokio::time::Instant::now() + pause;
                match answers {
                    Ok(answers) => model.answered(view, answers),
                    Err(error) => model.not_answered(clock::millis(since.elapsed()), error.to_string()),
                }
            },
            answered = waited(&mut asking) => {
                asking = None;
                take(&mut model, answered);
                request = Some(TopRequest::Look);
            },
            () = tokio::time::sleep_until(next), if looking.is_none() && !model.paused => {
                request = Some(TopRequest::Look);
            },
        }
        match request {
            None => {}
            Some(TopRequest::Quit) => break,
            Some(TopRequest::Suspend) => {
                screen.leave();
                // The process stops here, and goes on with SIGCONT. The kernel stops none of an orphaned process
                // group, such as a session of `kubectl exec`: it goes on at once.
                kill_process(getpid(), Signal::TSTP)?;
                screen.again()?;
            }
            Some(TopRequest::Look) => {
                let (view, paths) = (model.view, model.paths());
                looking = Some(Box::pin(async move {
                    (view, look(admin, view, paths, since).await)
                }));
            }
            Some(TopRequest::Explain { title, path }) => {
                asking = Some(Box::pin(explain(admin, title, path)));
            }
            Some(TopRequest::Act(change)) => asking = Some(Box::pin(act(admin, change))),
        }
    }
    wanted.store(false, Ordering::Relaxed);
    Ok(())
}

fn take(model: &mut TopModel, answered: Answered) {
    model.changing = false;
    match answered {
        Answered::Acted(Ok(done)) => model.say(done),
        Answered::Acted(Err(error)) => model.complain(error),
        Answered::Explained(title, Ok(lines)) => model.lines(&title, lines),
        Answered::Explained(_, Err(error)) => model.complain(error),
    }
}

/// The result of what is waited for; for ever without it.
async fn waited<T>(waiting: &mut Waiting<'_, T>) -> T {
    match waiting {
        Some(waiting) => waiting.await,
        None => pending().await,
    }
}
