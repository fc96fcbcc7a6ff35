//! HSEG, an assessment of psychological safety at work: 22 statements, six categories, five tiers.
//!
//! [`survey`] holds what is asked and how an answer is read, [`score`] the formula, [`demographics`] who answered and how
//! carefully. The formula is always computed and always shown; what a model forecasts beside it is another thing and is
//! called a forecast. Nothing here is a diagnosis: the words are of workplaces, patterns and help.

pub mod aggregate;
pub mod demographics;
pub mod features;
pub mod generate;
pub mod help;
pub mod interventions;
pub mod lexicon;
pub mod reading;
pub mod recipes;
pub mod score;
pub mod survey;
pub mod text;
pub mod training;
