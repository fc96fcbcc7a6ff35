//! The kit from outside: training on generated data, and the same pipelines on real data.

mod attack;
mod files;
mod real;
mod training;
