//! A benchmark's result as people read it: a table and a few sentences, in Markdown.

use std::fmt::Write as _;

/// A table with its notes.
#[derive(Default)]
pub struct Report {
    pub title: String,
    pub columns: Vec<&'static str>,
    pub rows: Vec<Vec<String>>,
    /// Sentences below the table: what was done, with what versions, where.
    pub notes: Vec<String>,
    /// Whether the goal was missed.
    pub failed: bool,
}

impl Report {
    pub fn to_markdown(&self) -> String {
        let mut text = format!("## {}\n\n", self.title);
        let widths = self.widths();
        line(&mut text, self.columns.iter().copied(), &widths);
        let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
        line(&mut text, rules.iter().map(String::as_str), &widths);
        for row in &self.rows {
            line(&mut text, row.iter().map(String::as_str), &widths);
        }
        for note in &self.notes {
            let _ = write!(text, "\n{note}\n");
        }
        text
    }

    fn widths(&self) -> Vec<usize> {
        let cell =
            |row: &Vec<String>, index: usize| row.get(index).map_or(0, |c| c.chars().count());
        let widest = |(index, name): (usize, &&str)| {
            self.rows
                .iter()
                .map(|row| cell(row, index))
                .max()
                .unwrap_or(0)
                .max(name.chars().count())
        };
        self.columns.iter().enumerate().map(widest).collect()
    }
}

/// `page` with the section of `name` set to `section`; a page without that section gets it at the end.
pub fn replace_section(page: &str, name: &str, section: &str) -> String {
    let (open, close) = (
        format!("<!-- bench:{name} -->"),
        format!("<!-- /bench:{name} -->"),
    );
    let fresh = format!("{open}\n{}\n{close}", section.trim_end());
    let start = page.find(&open);
    let end = page.find(&close).map(|at| at + close.len());
    match (start, end) {
        (Some(start), Some(end)) if start < end => {
            format!("{}{fresh}{}", &page[..start], &page[end..])
        }
        _ => format!("{}\n\n{fresh}\n", page.trim_end()),
    }
}

fn line<'c>(text: &mut String, cells: impl Iterator<Item = &'c str>, widths: &[usize]) {
    for (cell, width) in cells.zip(widths) {
        let _ = write!(text, "| {cell:<width$} ");
    }
    text.push_str("|\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_replaced_and_the_rest_stays() {
        let page = "# B\n\n<!-- bench:a -->\nold\n<!-- /bench:a -->\n\nmine\n";
        let expected = "# B\n\n<!-- bench:a -->\nnew\n<!-- /bench:a -->\n\nmine\n";
        assert_eq!(replace_section(page, "a", "new\n"), expected);
    }

    #[test]
    fn a_new_section_comes_last() {
        let page = replace_section("# B\n", "a", "new");
        assert_eq!(page, "# B\n\n<!-- bench:a -->\nnew\n<!-- /bench:a -->\n");
    }

    #[test]
    fn a_table_lines_up() {
        let report = Report {
            title: "T".to_owned(),
            columns: vec!["who", "s"],
            rows: vec![vec!["ours".to_owned(), "1".to_owned()]],
            notes: vec!["Once.".to_owned()],
            failed: false,
        };
        let expected = "## T\n\n| who  | s |\n| ---- | - |\n| ours | 1 |\n\nOnce.\n";
        assert_eq!(report.to_markdown(), expected);
    }
}
