//! Shows how far long work is.
//!
//! On a terminal a bar with rate and time left, or a spinner when nobody knows the end; elsewhere, and under `CI`, a line
//! now and then. Nothing appears for work that is done within a second. Ctrl-C is heard here, because it is here
//! that [`Progress::is_stopped`] is asked.

use crate::console::{Console, ProgressStyle};
use crate::failure::Failure;
use crate::numbers;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle as BarStyle};
use ombud_learn::progress::Progress;
use std::fmt;
use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Work that takes less shows nothing.
const SHOWN_AFTER: Duration = Duration::from_secs(1);
/// How often a terminal is drawn.
const DRAWN_EVERY: Duration = Duration::from_millis(120);
/// How often a long stage says a line where there is no terminal.
const SAID_EVERY: Duration = Duration::from_secs(15);

/// Set by the first Ctrl-C; the second ends the process at once.
static IS_STOPPED: AtomicBool = AtomicBool::new(false);

/// The progress of one command, drawn from a thread of its own until dropped.
#[derive(Debug)]
pub struct Shown {
    state: Arc<Mutex<State>>,
    ticking: Option<(Sender<()>, JoinHandle<()>)>,
}

#[derive(Debug)]
struct State {
    console: Console,
    way: Way,
    stage: Option<Stage>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Redrawn in place.
    Bar,
    /// A line when a stage takes long.
    Lines,
    /// A line for every stage.
    EveryLine,
    /// Nothing.
    Nothing,
}

#[derive(Debug)]
struct Stage {
    name: String,
    total: Option<u64>,
    done: u64,
    begun: Instant,
    said: Option<Instant>,
    bar: Option<ProgressBar>,
}

impl Shown {
    /// Progress on standard error.
    pub fn new(console: &Console) -> Self {
        let way = way(console);
        let state = Arc::new(Mutex::new(State {
            console: *console,
            way,
            stage: None,
        }));
        let ticking = match way {
            Way::Bar | Way::Lines => tick(&state),
            Way::EveryLine | Way::Nothing => None,
        };
        hear_interrupts();
        Shown { state, ticking }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.finish();
        if let Some((end, thread)) = self.ticking.take() {
            drop(end);
            // The thread only draws; that it panicked would change nothing.
            let _ = thread.join();
        }
    }
}

impl Progress for Shown {
    fn start(&self, name: &str, total: Option<u64>) {
        self.finish();
        let mut state = self.state();
        let begun = Instant::now();
        if state.way == Way::EveryLine {
            state.console.error_line(&format!("{name} …"));
        }
        state.stage = Some(Stage {
            name: name.to_owned(),
            total,
            done: 0,
            begun,
            said: None,
            bar: None,
        });
    }

    fn advance(&self, done: u64) {
        if let Some(stage) = &mut self.state().stage {
            stage.done = done;
        }
    }

    fn finish(&self) {
        let mut state = self.state();
        let Some(stage) = state.stage.take() else {
            return;
        };
        if let Some(bar) = &stage.bar {
            bar.finish_and_clear();
        }
        if stage.said.is_some() || (stage.bar.is_some() && !state.console.is_quiet) {
            let took = numbers::seconds(stage.begun.elapsed().as_secs_f64());
            state.console.error_line(&format!("{}: {took}", stage.name));
        }
    }

    fn is_stopped(&self) -> bool {
        is_stopped()
    }
}

/// Whether Ctrl-C was pressed.
pub fn is_stopped() -> bool {
    IS_STOPPED.load(Ordering::Relaxed)
}

/// What work ended with; an error of work that was stopped is no mistake.
pub fn ended<T, E>(result: Result<T, E>, told: impl FnOnce(E) -> Failure) -> Result<T, Failure> {
    result.map_err(|error| {
        if is_stopped() {
            Failure::Stopped
        } else {
            told(error)
        }
    })
}

fn way(console: &Console) -> Way {
    let is_ci = std::env::var_os("CI").is_some_and(|value| !value.is_empty());
    match console.progress {
        ProgressStyle::None => Way::Nothing,
        ProgressStyle::Plain => Way::EveryLine,
        ProgressStyle::Auto if console.is_quiet => Way::Nothing,
        ProgressStyle::Auto if io::stderr().is_terminal() && !is_ci => Way::Bar,
        ProgressStyle::Auto => Way::Lines,
    }
}

fn tick(state: &Arc<Mutex<State>>) -> Option<(Sender<()>, JoinHandle<()>)> {
    let state = state.clone();
    let (end, ended) = channel();
    let draw = move || {
        while ended.recv_timeout(DRAWN_EVERY) == Err(RecvTimeoutError::Timeout) {
            let mut state = locked(&state);
            let (way, console) = (state.way, state.console);
            if let Some(stage) = &mut state.stage {
                stage.draw(way, &console);
            }
        }
    };
    // Without a thread there is no bar; the work goes on all the same.
    let thread = std::thread::Builder::new()
        .name("ombud-progress".into())
        .spawn(draw)
        .ok()?;
    Some((end, thread))
}

impl Stage {
    fn draw(&mut self, way: Way, console: &Console) {
        if self.begun.elapsed() < SHOWN_AFTER {
            return;
        }
        match way {
            Way::Bar => {
                let bar = self
                    .bar
                    .get_or_insert_with(|| bar(&self.name, self.total, self.begun));
                bar.set_position(self.done);
                bar.tick();
            }
            Way::Lines if self.said.is_none_or(|said| said.elapsed() >= SAID_EVERY) => {
                self.said = Some(Instant::now());
                console.error_line(&self.line());
            }
            Way::Lines | Way::EveryLine | Way::Nothing => {}
        }
    }

    fn line(&self) -> String {
        match self.total {
            Some(total) if total > 0 && self.done > 0 => {
                let share = 100.0 * self.done as f64 / total as f64;
                format!("{} … {share:.0} %", self.name)
            }
            _ => format!("{} …", self.name),
        }
    }
}

fn bar(name: &str, total: Option<u64>, begun: Instant) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr())
        .with_elapsed(begun.elapsed());
    let template = match total {
        Some(_) => "{prefix} {bar:30} {percent:>3} % · {rate} · {eta} left",
        None => "{prefix} {spinner} {elapsed}",
    };
    if let Ok(style) = BarStyle::with_template(template) {
        let rate = |state: &ProgressState, out: &mut dyn fmt::Write| {
            // A line that cannot be formatted is drawn without its rate.
            let _ = out.write_str(&numbers::rate(state.per_sec()));
        };
        bar.set_style(style.with_key("rate", rate).progress_chars("━╸─"));
    }
    bar.with_prefix(name.to_owned())
}

/// The first Ctrl-C asks the work to end, which then cleans up after itself; the second does not wait.
fn hear_interrupts() {
    // Fails only when it was set before, which is as good.
    let _ = ctrlc::set_handler(|| {
        if IS_STOPPED.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(crate::failure::STOPPED));
        }
    });
}

/// A poisoned lock only means that drawing once panicked.
fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
