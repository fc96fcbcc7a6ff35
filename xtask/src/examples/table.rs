//! A CSV table built row by row.

use std::fmt::Write as _;

use super::ExampleFile;

/// The header and the rows written so far.
pub struct Table {
    columns: usize,
    content: String,
}

impl Table {
    pub fn new(columns: &[&str]) -> Self {
        Self {
            columns: columns.len(),
            content: columns.join(",") + "\n",
        }
    }

    /// Adds a row; an empty field is a missing value.
    pub fn row(&mut self, fields: &[String]) {
        assert!(
            fields.len() == self.columns,
            "{} fields, {} columns",
            fields.len(),
            self.columns
        );
        for (index, field) in fields.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let _ = write!(self.content, "{comma}{}", quoted(field));
        }
        self.content.push('\n');
    }

    pub fn into_file(self, path: &'static str) -> ExampleFile {
        ExampleFile {
            path,
            content: self.content,
        }
    }
}

fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n']) {
        return format!("\"{}\"", field.replace('"', "\"\""));
    }
    field.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_and_quotes_are_quoted() {
        let mut table = Table::new(&["a", "b"]);
        table.row(&["x, y".to_owned(), "say \"no\"".to_owned()]);
        assert_eq!(
            table.into_file("f").content,
            "a,b\n\"x, y\",\"say \"\"no\"\"\"\n"
        );
    }
}
