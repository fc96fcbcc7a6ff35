//! HSEG, an assessment of psychological safety at work: 22 statements, six categories, five tiers.
//!
//! [`survey`] holds what is asked and how an answer is read, [`score`] the formula, [`demographics`] who answered and how
//! carefully. The formula is always computed and always shown; what a model forecasts beside it is another thing and is
//! called a forecast. Nothing here is a diagnosis: the words are of workplaces, patterns and help.

pub mod aggregate;
pub mod anonymity;
pub mod asking;
pub mod benchmark;
pub mod crisis;
pub mod demographics;
pub mod features;
pub mod generate;
pub mod help;
pub mod intake;
pub mod interventions;
pub mod keep;
pub mod lexicon;
pub mod process;
pub mod reading;
pub mod recipes;
pub mod recommend;
pub mod repeats;
pub mod report;
pub mod response;
pub mod routes;
pub mod score;
pub mod survey;
pub mod text;
pub mod themes;
pub mod training;
pub mod upload;
