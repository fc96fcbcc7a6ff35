//! The recipes of the kit's models, as files in `recipes/hseg`.
//!
//! They are ordinary recipes: `ombud train` takes them with the tables that `ombud kit hseg train --keep` writes.

use ombud_learn::recipe::{Recipe, RecipeError};

/// A recipe that ships.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shipped {
    /// The model's name.
    pub name: &'static str,
    /// The file's name, for errors and for whoever writes it out.
    pub file: &'static str,
    pub text: &'static str,
}

pub const TEXT: Shipped = Shipped {
    name: "hseg-text",
    file: "text.toml",
    text: include_str!("../../recipes/hseg/text.toml"),
};
pub const SIGNALS: Shipped = Shipped {
    name: "hseg-text-signals",
    file: "text-signals.toml",
    text: include_str!("../../recipes/hseg/text-signals.toml"),
};
pub const INDIVIDUAL: Shipped = Shipped {
    name: "hseg-individual",
    file: "individual.toml",
    text: include_str!("../../recipes/hseg/individual.toml"),
};
pub const ORGANIZATION: Shipped = Shipped {
    name: "hseg-organization",
    file: "organization.toml",
    text: include_str!("../../recipes/hseg/organization.toml"),
};
pub const TURNOVER: Shipped = Shipped {
    name: "hseg-turnover",
    file: "turnover.toml",
    text: include_str!("../../recipes/hseg/turnover.toml"),
};

/// All of them, in the order in which they are trained.
pub const ALL: [Shipped; 5] = [TEXT, SIGNALS, INDIVIDUAL, ORGANIZATION, TURNOVER];

impl Shipped {
    /// Reads it, with overrides of the form `train.seed=8`.
    ///
    /// # Errors
    /// An override that does not fit; the files themselves are tested.
    pub fn recipe(&self, overrides: &[String]) -> Result<Recipe, RecipeError> {
        Recipe::parse_with(self.file, self.text, overrides)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recipe_is_right_and_bears_its_name() {
        for shipped in ALL {
            let recipe = shipped
                .recipe(&[])
                .unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(recipe.name.as_str(), shipped.name);
        }
    }
}
