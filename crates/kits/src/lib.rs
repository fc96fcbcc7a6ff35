//! The shipped systems, each a module: its domain rules and words, its data generator, its recipes, its routes.
//!
//! A kit owns what only its readers know: what a question asks, what a tier means, whom to call. Whatever two kits need
//! belongs in a room above. Only the command line knows that kits exist; no kit knows another.

pub mod hseg;
pub mod table;
