//! What may be told of a group so that nobody in it is told of.
//!
//! The design is one that can be proved. When a campaign has ended, its respondents are divided once into disjoint
//! [`cells`], each with at least [`Floor`] people, and only sums over whole cells are kept for telling ([`release`]). Every
//! answer to every filter is a union of whole cells, taken from that one division; a filter that would cut a cell is
//! answered for the cells that lie wholly inside it, or not at all.
//!
//! Why no difference helps: give each respondent a coordinate. An answer is then a vector that is constant on every cell,
//! because it adds up whole cells. Sums, differences and any other linear combinations of such vectors are constant on
//! every cell too. So whatever an attacker computes from any number of answers weighs all the people of a cell alike, and
//! a cell has no fewer than the floor: no combination is about fewer people. Complementary suppression is how the division
//! is made: a group below the floor is merged with others until the merged cell reaches it, and the groups that were merged
//! are then not told alone either.
//!
//! The same holds over time, because nothing is told of a campaign that is still open, a campaign is divided once and for
//! good, and campaigns share no row: an answer about one is zero on the rows of all others. What the argument cannot
//! cover is somebody who answers twice in the same way in two campaigns while nobody else changes; against that, means are
//! told no finer than one person could move them ([`release::precision`]), and noise with a budget can be added
//! ([`noise`]).

pub mod cells;
pub mod noise;
pub mod release;

pub use cells::{Cell, Label, Traits};
pub use noise::Budget;
pub use release::{Filters, Group, Release};

/// Whatever an organization wishes, no smaller group is ever told of.
pub const FLOOR_MIN: usize = 3;
/// The floor where nobody wishes otherwise.
pub const FLOOR_DEFAULT: usize = 5;
/// A floor beyond this hides everything that a small organization could learn.
pub const FLOOR_MAX: usize = 100;

/// The smallest group that may be told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Floor(usize);

impl Floor {
    /// `None` outside [`FLOOR_MIN`] to [`FLOOR_MAX`].
    pub fn new(people: usize) -> Option<Floor> {
        (FLOOR_MIN..=FLOOR_MAX)
            .contains(&people)
            .then_some(Floor(people))
    }

    pub fn get(self) -> usize {
        self.0
    }

    /// Whether a group is large enough.
    pub fn admits(self, people: usize) -> bool {
        people >= self.0
    }
}

impl Default for Floor {
    fn default() -> Self {
        Floor(FLOOR_DEFAULT)
    }
}
