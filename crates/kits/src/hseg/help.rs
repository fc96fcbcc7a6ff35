//! Whom a person in distress can turn to, by country.
//!
//! The list is a file that operators must review and may replace: numbers change, and no list of ours knows an
//! organization's own ombudsperson. [`HelpList::is_reviewed`] tells whether somebody has said that they did.

use serde::Deserialize;
use std::sync::OnceLock;

/// The word for "wherever".
const ANYWHERE: &str = "any";

/// One place to turn to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Help {
    /// ISO 3166, or `any`.
    pub country: String,
    pub name: String,
    pub contact: String,
    pub hours: String,
    pub note: String,
}

/// All of them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HelpList {
    reviewed: bool,
    help: Vec<Help>,
}

/// Why a list cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HelpError {
    #[error("the list of help is not TOML of the right form: {0}")]
    Form(#[from] toml::de::Error),
    #[error("{country:?} is no country code; write two capital letters, or `any`")]
    Country { country: String },
    #[error(
        "nothing is listed for `any`, and somebody whose country is unknown would be left alone"
    )]
    NothingAnywhere,
}

impl HelpList {
    /// The one that ships; it counts as not reviewed.
    pub fn shipped() -> &'static HelpList {
        static SHIPPED: OnceLock<HelpList> = OnceLock::new();
        SHIPPED.get_or_init(|| {
            HelpList::parse(include_str!("../../data/hseg/help.toml"))
                .expect("the embedded list is tested")
        })
    }

    /// An operator's own.
    ///
    /// # Errors
    /// A text that is no list, or one that would leave somebody alone.
    pub fn parse(text: &str) -> Result<HelpList, HelpError> {
        let list: HelpList = toml::from_str(text)?;
        let is_code =
            |code: &str| code.len() == 2 && code.bytes().all(|letter| letter.is_ascii_uppercase());
        if let Some(wrong) = list
            .help
            .iter()
            .find(|it| it.country != ANYWHERE && !is_code(&it.country))
        {
            return Err(HelpError::Country {
                country: wrong.country.clone(),
            });
        }
        match list.help.iter().any(|it| it.country == ANYWHERE) {
            true => Ok(list),
            false => Err(HelpError::NothingAnywhere),
        }
    }

    /// Whether the operator has said that the list was checked.
    pub fn is_reviewed(&self) -> bool {
        self.reviewed
    }

    /// The lines of one country, or those for anywhere.
    pub fn only<'a>(&'a self, country: Option<&str>) -> impl Iterator<Item = &'a Help> {
        let wanted = country.map_or_else(|| ANYWHERE.to_owned(), str::to_ascii_uppercase);
        self.help.iter().filter(move |it| it.country == wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is shown: a country's own lines, then what helps anywhere.
    fn shown(country: Option<&str>) -> Vec<&'static Help> {
        let list = HelpList::shipped();
        let own = country.into_iter().flat_map(|code| list.only(Some(code)));
        own.chain(list.only(None)).collect()
    }

    #[test]
    fn nobody_is_left_without_help() {
        for country in [None, Some("XX"), Some("us"), Some("DE")] {
            assert!(shown(country).len() >= 3, "{country:?}");
        }
        assert_eq!(shown(Some("us"))[0].contact, "call or text 988");
        assert_eq!(shown(Some("GB"))[0].contact, "116 123");
    }

    #[test]
    fn the_shipped_list_says_that_nobody_has_reviewed_it() {
        assert!(!HelpList::shipped().is_reviewed());
    }

    #[test]
    fn a_list_without_help_anywhere_is_refused() {
        let text = include_str!("../../data/hseg/help.toml")
            .replace("country = \"any\"", "country = \"FR\"");
        assert!(matches!(
            HelpList::parse(&text),
            Err(HelpError::NothingAnywhere)
        ));
        let text = include_str!("../../data/hseg/help.toml")
            .replace("country = \"GB\"", "country = \"UK \"");
        assert!(matches!(
            HelpList::parse(&text),
            Err(HelpError::Country { .. })
        ));
    }
}
