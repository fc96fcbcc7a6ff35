//! Words for what a text says: how heavy it is, and which categories it speaks of.

use std::fmt;

/// How heavy a text is. A word for how soon somebody should read it, not for the person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TextRisk {
    None,
    Low,
    Medium,
    High,
    Crisis,
}

impl TextRisk {
    /// From the lightest to the heaviest.
    pub const ALL: [TextRisk; 5] = [
        TextRisk::None,
        TextRisk::Low,
        TextRisk::Medium,
        TextRisk::High,
        TextRisk::Crisis,
    ];

    /// The word on the wire.
    pub fn word(self) -> &'static str {
        match self {
            TextRisk::None => "None",
            TextRisk::Low => "Low",
            TextRisk::Medium => "Medium",
            TextRisk::High => "High",
            TextRisk::Crisis => "Crisis",
        }
    }

    /// Reads the word.
    pub fn parse(word: &str) -> Option<TextRisk> {
        TextRisk::ALL.into_iter().find(|it| it.word() == word)
    }

    /// The name of the class in tables and models. Readers of tables take the word "None" for a missing cell, so it has
    /// another name there.
    pub fn class(self) -> &'static str {
        match self {
            TextRisk::None => "no_risk",
            TextRisk::Low => "low",
            TextRisk::Medium => "medium",
            TextRisk::High => "high",
            TextRisk::Crisis => "crisis",
        }
    }

    /// Reads the name of the class.
    pub fn of_class(class: &str) -> Option<TextRisk> {
        TextRisk::ALL.into_iter().find(|it| it.class() == class)
    }

    /// 0 for None to 4 for Crisis.
    pub fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for TextRisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
