//! The terminal while `strait top` has it: entered, drawn on, and given back on every way out.

use std::io::{self, BufWriter, Stdout, Write as _, stdout};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use ratatui_core::buffer::Buffer;
use ratatui_core::terminal::Terminal;
use ratatui_crossterm::CrosstermBackend;
use ratatui_crossterm::crossterm::cursor::{Hide, Show};
use ratatui_crossterm::crossterm::execute;
use ratatui_crossterm::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};

/// Whether the terminal is entered. The process has one.
static ENTERED: AtomicBool = AtomicBool::new(false);

/// The terminal. It is given back when this is dropped, and by a panic before its message is written.
pub(super) struct TopScreen {
    terminal: Terminal<CrosstermBackend<BufWriter<Stdout>>>,
}

impl TopScreen {
    /// # Errors
    /// The terminal does not obey.
    pub(super) fn enter() -> io::Result<Self> {
        restore_on_panic();
        enter()?;
        let backend = CrosstermBackend::new(BufWriter::with_capacity(1 << 16, stdout()));
        match Terminal::new(backend) {
            Ok(terminal) => Ok(Self { terminal }),
            Err(error) => {
                restore();
                Err(error)
            }
        }
    }

    /// The terminal's height in lines.
    pub(super) fn height(&self) -> u16 {
        self.terminal.size().map_or(24, |size| size.height)
    }

    /// # Errors
    /// The terminal is gone.
    pub(super) fn draw(&mut self, paint: impl FnOnce(&mut Buffer)) -> io::Result<()> {
        self.terminal.draw(|frame| paint(frame.buffer_mut()))?;
        Ok(())
    }

    /// Gives the terminal back, until [`TopScreen::again`].
    pub(super) fn leave(&self) {
        restore();
    }

    /// Enters the terminal again, whatever stands there now.
    ///
    /// # Errors
    /// The terminal does not obey.
    pub(super) fn again(&mut self) -> io::Result<()> {
        restore();
        enter()?;
        let size = self.terminal.size()?;
        // A resize draws every cell again.
        self.terminal.resize(size.into())
    }
}

impl Drop for TopScreen {
    fn drop(&mut self) {
        restore();
    }
}

fn enter() -> io::Result<()> {
    enable_raw_mode()?;
    ENTERED.store(true, Ordering::SeqCst);
    execute!(stdout(), EnterAlternateScreen, Hide)
}

/// Gives the terminal back if it is entered. Errors have nowhere to go: a terminal that is gone needs nothing back.
fn restore() {
    if ENTERED.swap(false, Ordering::SeqCst) {
        let _ = execute!(stdout(), LeaveAlternateScreen, Show);
        let _ = stdout().flush();
        let _ = disable_raw_mode();
    }
}

/// Has a panic give the terminal back before it writes its message.
fn restore_on_panic() {
    static HOOKED: Once = Once::new();
    HOOKED.call_once(|| {
        let next = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            restore();
            next(info);
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::env;
    use std::process::Command;
    use std::thread;
    use std::time::{Duration, Instant};

    /// Set in the process that panics.
    const WITHIN: &str = "STRAIT_TEST_TOP_PANICS";

    /// This process starts itself in a terminal, where it panics.
    #[test]
    fn a_panic_gives_the_terminal_back_before_its_message() {
        if env::var_os(WITHIN).is_some() {
            let _screen = TopScreen::enter().unwrap();
            panic!("a panic as it was asked for");
        }
        let program = env::current_exe().unwrap();
        let socket = format!("strait-top-{}", std::process::id());
        let tmux = |arguments: &[&str]| {
            let output = Command::new("tmux")
                .args(["-L", &socket, "-f", "/dev/null"])
                .args(arguments)
                .output();
            let output = output.expect("tmux is not installed: apt-get install -y tmux");
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let test = "a_panic_gives_the_terminal_back_before_its_message";
        let command = format!(
            "RUST_BACKTRACE=0 {WITHIN}=1 {} --nocapture {test}; stty -a; sleep 60",
            program.display()
        );
        tmux(&["new-session", "-d", "-x", "200", "-y", "50", &command]);
        let start = Instant::now();
        let mut screen = String::new();
        while start.elapsed() < Duration::from_secs(20) && !screen.contains("icanon") {
            thread::sleep(Duration::from_millis(20));
            screen = tmux(&["capture-pane", "-p"]);
        }
        let state = tmux(&["display-message", "-p", "#{alternate_on} #{cursor_flag}"]);
        tmux(&["kill-server"]);
        assert!(screen.contains(" icanon"), "{screen}");
        assert!(screen.contains("a panic as it was asked for"), "{screen}");
        assert_eq!(state.trim(), "0 1");
    }
}
