//! Where words go: answers to standard output, everything else to standard error.
//!
//! Colour is used only on a terminal and never when `NO_COLOR` is set, and no meaning hangs on it. A reader that closes
//! the pipe ends the command quietly. Progress is [`crate::progress`].

use crate::failure::Failure;
use serde::Serialize;
use std::io::{self, IsTerminal, Write};

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ProgressStyle {
    /// Bars on a terminal; now and then a line elsewhere.
    Auto,
    /// A line for every stage, at once.
    Plain,
    /// Nothing.
    None,
}

/// The two streams and how they are to be used.
#[derive(Debug, Clone, Copy)]
pub struct Console {
    /// Whether the answer is one JSON object.
    pub is_json: bool,
    /// Whether notes are left out.
    pub is_quiet: bool,
    /// How progress is shown.
    pub progress: ProgressStyle,
    colours_out: bool,
    colours_err: bool,
}

/// A shade of meaning that colour may underline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shade {
    /// Went well.
    Good,
    /// Needs a look.
    Notice,
    /// Went wrong.
    Bad,
    /// A heading.
    Strong,
    /// Beside the point.
    Faint,
}

impl Shade {
    fn code(self) -> &'static str {
        match self {
            Shade::Good => "32",
            Shade::Notice => "33",
            Shade::Bad => "1;31",
            Shade::Strong => "1",
            Shade::Faint => "2",
        }
    }
}

impl Console {
    /// The process's own streams.
    pub fn new(is_json: bool, is_quiet: bool, progress: ProgressStyle) -> Self {
        let allowed = is_colour_allowed();
        Console {
            is_json,
            is_quiet,
            progress,
            colours_out: allowed && io::stdout().is_terminal(),
            colours_err: allowed && io::stderr().is_terminal(),
        }
    }

    /// Whether tables may be coloured.
    pub fn colours(&self) -> bool {
        self.colours_out
    }

    /// A word of the answer, shaded where that can be seen.
    pub fn shade(&self, shade: Shade, text: &str) -> String {
        shaded(self.colours_out, shade, text)
    }

    /// A part of the answer: a line, or several.
    pub fn print(&self, text: &str) -> Result<(), Failure> {
        self.print_bytes(text.as_bytes())?;
        self.print_bytes(b"\n")
    }

    /// A part of the answer, as it is.
    pub fn print_bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        io::stdout()
            .write_all(bytes)
            .map_err(|error| Failure::output(&error))
    }

    /// The answer as one JSON object.
    pub fn print_json(&self, answer: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(answer).map_err(|error| {
            Failure::new(
                ombud_core::Class::Internal,
                format!("the answer cannot be written as JSON: {error}"),
                "report this",
            )
        })?;
        self.print(&text)
    }

    /// Something that is good to know and no part of the answer.
    pub fn note(&self, text: &str) {
        if !self.is_quiet {
            self.say(Shade::Faint, "note", text);
        }
    }

    /// Something that a person should look at.
    pub fn warn(&self, text: &str) {
        self.say(Shade::Notice, "warning", text);
    }

    fn say(&self, shade: Shade, word: &str, text: &str) {
        let word = shaded(self.colours_err, shade, &format!("{word}:"));
        self.error_line(&format!("{word} {text}"));
    }

    /// A line on standard error. That nobody may read it is no reason to fail.
    pub fn error_line(&self, text: &str) {
        let _ = writeln!(io::stderr(), "{text}");
    }

    /// Tells why the command failed.
    pub fn fail(&self, failure: &Failure) {
        match failure {
            Failure::PipeClosed => {}
            Failure::Stopped => {
                self.error_line("stopped; nothing half-done was kept");
                if self.is_json {
                    let stopped = serde_json::json!({ "message": "stopped", "hint": null, "class": "stopped" });
                    let _ = self.print_json(&serde_json::json!({ "error": stopped }));
                }
            }
            Failure::Wrong(wrong) => {
                let text = crate::table::plain_but_shades(&wrong.text());
                let rest = text.strip_prefix("error:").unwrap_or(&text);
                self.error_line(&format!(
                    "{}{rest}",
                    shaded(self.colours_err, Shade::Bad, "error:")
                ));
                if self.is_json {
                    // A closed pipe here leaves nobody to tell.
                    let _ = self.print_json(&wrong.json());
                }
            }
        }
    }
}

impl Failure {
    /// Why standard output cannot be written.
    pub fn output(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Failure::PipeClosed;
        }
        let message = format!("standard output cannot be written: {error}");
        Failure::new(
            ombud_core::Class::Unavailable,
            message,
            "check the disk, or where the output is sent",
        )
    }
}

fn shaded(is_coloured: bool, shade: Shade, text: &str) -> String {
    if is_coloured {
        format!("\x1b[{}m{text}\x1b[0m", shade.code())
    } else {
        text.to_owned()
    }
}

/// <https://no-color.org>: any value that is not empty; and terminals that say they are dumb.
fn is_colour_allowed() -> bool {
    let is_refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    !is_refused && !is_dumb
}
