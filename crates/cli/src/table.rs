//! Tables for people: aligned columns, a line under the head, no boxes.
//!
//! Readable without colour and as wide as the terminal at most; into a file or pipe a row is one line, so that `grep`
//! works on it.

use crate::console::{Console, Shade};
use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, TableStyle};

/// A table being filled.
#[derive(Debug)]
pub struct Table {
    inner: comfy_table::Table,
    is_coloured: bool,
    right: Vec<usize>,
}

/// A cell with a meaning that colour may underline.
#[derive(Debug, Clone)]
pub struct Shaded(pub Option<Shade>, pub String);

impl From<String> for Shaded {
    fn from(text: String) -> Self {
        Shaded(None, text)
    }
}

impl From<&str> for Shaded {
    fn from(text: &str) -> Self {
        Shaded(None, text.to_owned())
    }
}

impl Table {
    /// An empty table. Columns of numbers are named in `right`.
    pub fn new(console: &Console, head: &[&str], right: &[usize]) -> Self {
        let mut inner = comfy_table::Table::new();
        inner.load_style(style());
        inner.set_content_arrangement(ContentArrangement::Dynamic);
        if !console.colours() {
            // Widths still come from a terminal when there is one; only the colours stay away.
            inner.set_content_arrangement(arrangement());
        }
        let mut table = Table {
            inner,
            is_coloured: console.colours(),
            right: right.to_vec(),
        };
        let cells: Vec<Cell> = head
            .iter()
            .enumerate()
            .map(|(place, name)| table.cell(place, Shaded(Some(Shade::Strong), (*name).to_owned())))
            .collect();
        table.inner.set_header(cells);
        table
    }

    /// Adds a row.
    pub fn row<T: Into<Shaded>>(&mut self, cells: impl IntoIterator<Item = T>) {
        let cells: Vec<Cell> = cells
            .into_iter()
            .enumerate()
            .map(|(place, cell)| self.cell(place, cell.into()))
            .collect();
        self.inner.add_row(cells);
    }

    /// The table as text, without an empty end of line.
    pub fn text(&self) -> String {
        self.inner.trim_fmt()
    }

    fn cell(&self, place: usize, shaded: Shaded) -> Cell {
        let cell = Cell::new_owned(lines_plain(&shaded.1));
        let cell = match (self.is_coloured, shaded.0) {
            (true, Some(Shade::Good)) => cell.fg(Color::Green),
            (true, Some(Shade::Notice)) => cell.fg(Color::Yellow),
            (true, Some(Shade::Bad)) => cell.fg(Color::Red).add_attribute(Attribute::Bold),
            (true, Some(Shade::Strong)) => cell.add_attribute(Attribute::Bold),
            (true, Some(Shade::Faint)) => cell.add_attribute(Attribute::Dim),
            (_, _) => cell,
        };
        if self.right.contains(&place) {
            cell.set_alignment(CellAlignment::Right)
        } else {
            cell
        }
    }
}

/// Names come from the files of strangers: a control character is a command to the terminal that shows it, and a mark that
/// turns the direction of writing shows another name.
pub fn plain(text: &str) -> String {
    let turns = |letter: char| matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let is_plain = |letter: char| !letter.is_control() && !turns(letter);
    text.chars()
        .map(|letter| {
            if is_plain(letter) {
                letter
            } else {
                char::REPLACEMENT_CHARACTER
            }
        })
        .collect()
}

/// The same for several lines that have our own shades.
pub fn plain_but_shades(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let mut kept: String = lines_plain(parts.next().unwrap_or_default());
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        match part[digits..].strip_prefix('m') {
            Some(rest) => {
                kept.push_str(&format!("\u{1b}[{}m{}", &part[..digits], lines_plain(rest)));
            }
            None => {
                kept.push(char::REPLACEMENT_CHARACTER);
                kept.push('[');
                kept.push_str(&lines_plain(part));
            }
        }
    }
    kept
}

fn lines_plain(text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(plain).collect();
    lines.join("\n")
}

fn style() -> TableStyle {
    use comfy_table::{ContentLineStyle, LineStyle};
    TableStyle::new()
        .header_lines(ContentLineStyle::none().junction(' '))
        .header_separator(LineStyle::none().fill('─').junction('─'))
        .content_lines(ContentLineStyle::none().junction(' '))
}

fn arrangement() -> ContentArrangement {
    use std::io::IsTerminal;
    if std::io::stdout().is_terminal() {
        ContentArrangement::Dynamic
    } else {
        ContentArrangement::Disabled
    }
}

/// A name and what is said about it, in two columns.
pub fn facts<'t>(console: &Console, facts: impl IntoIterator<Item = (&'t str, String)>) -> String {
    let facts: Vec<(&str, String)> = facts.into_iter().collect();
    let width = facts
        .iter()
        .map(|(name, _)| name.chars().count())
        .max()
        .unwrap_or(0);
    let lines = facts.iter().map(|(name, fact)| {
        let padding = " ".repeat(width - name.chars().count());
        let fact = plain_but_shades(fact);
        format!("{}{padding}  {fact}", console.shade(Shade::Faint, name))
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::ProgressStyle;

    #[test]
    fn a_table_in_a_pipe_is_plain_text() {
        let console = Console::new(false, false, ProgressStyle::None);
        let mut table = Table::new(&console, &["metric", "value"], &[1]);
        table.row(["accuracy", "0.9"]);
        table.row(["ece", "0.0123"]);
        let expected =
            " metric      value\n───────────────────\n accuracy      0.9\n ece        0.0123";
        assert_eq!(table.text(), expected);
    }

    #[test]
    fn a_name_from_a_file_commands_no_terminal() {
        let console = Console::new(false, false, ProgressStyle::None);
        let mut table = Table::new(&console, &["feature"], &[]);
        table.row(["\u{1b}[2Jage\u{9b}31m\r"]);
        assert!(table.text().ends_with(" \u{fffd}[2Jage\u{fffd}31m\u{fffd}"));
        let told = plain_but_shades("\u{1b}[1mour own\u{1b}[0m \u{1b}[2J\u{202e}\u{7}\u{1b}");
        let expected = "\u{1b}[1mour own\u{1b}[0m \u{fffd}[2J\u{fffd}\u{fffd}\u{fffd}";
        assert_eq!(told, expected);
    }
}
