//! What of a file of answers was in an earlier file already.
//!
//! Survey tools export everything so far, every week. Of two campaigns that share answers, the difference of what is told of
//! them tells of the few that they do not share, department by department; so shared ones are left out of the later. An
//! answer is recognized by its ratings where these are many and not all the same: two people hardly answer so alike. Others
//! are recognized only beside such, in a file that goes on from an earlier one: of few ratings, or all 3, different people's
//! answers are alike, and leaving them out would bend what is told. A file that is an earlier one and a few more, or a few
//! less, is refused. Pure: who kept what is the concern of [`super::intake`].

use super::anonymity::Floor;
use super::response::{DIMENSIONS, Response};
use super::survey::Rating;
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};

/// With so many ratings two people hardly answer alike, and what a survey tool exports beside them differs from week to week.
const TELLING_RATINGS: usize = 12;

/// What an answer is recognized by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mark {
    digest: [u8; 16],
    /// Whether hardly anybody else's is the same.
    is_telling: bool,
}

/// An earlier file, as far as another one is compared with it.
#[derive(Debug, Clone, Default)]
pub struct Earlier {
    /// How often each came of those that the other has.
    found: HashMap<Mark, usize>,
    telling: usize,
    others: usize,
}

/// Why a file is not taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Repeated {
    /// Too few answers are new.
    Few { new: usize },
    /// It is an earlier file and so many answers more, or less.
    Alike { differ: usize },
}

impl Mark {
    /// The ratings, where they tell; else all that was answered, of texts the letters alone: a file that is exported anew may
    /// lack columns, or end its texts otherwise.
    pub fn of(response: &Response) -> Mark {
        let mut hasher = Sha256::new();
        let mut given = HashSet::new();
        for rating in response.ratings.iter() {
            let rating = rating.map_or(0.0, Rating::get).to_be_bytes();
            given.insert(rating);
            hasher.update(rating);
        }
        given.remove(&0f64.to_be_bytes());
        let is_telling = response.ratings.answered() >= TELLING_RATINGS && given.len() > 1;
        if !is_telling {
            for dimension in DIMENSIONS {
                hasher.update(response.trait_of(dimension).unwrap_or_default());
                hasher.update([0]);
            }
            let text = zeroize::Zeroizing::new(response.text().unwrap_or_default());
            for letter in text.chars().filter(|letter| letter.is_alphanumeric()) {
                for letter in letter.to_lowercase() {
                    hasher.update(u32::from(letter).to_be_bytes());
                }
            }
        }
        let digest: [u8; 32] = hasher.finalize().into();
        Mark {
            digest: std::array::from_fn(|at| digest[at]),
            is_telling,
        }
    }
}

impl Earlier {
    /// Counts one of its answers; of the other file's it is looked for among `sought`.
    pub fn add(&mut self, mark: Mark, sought: &HashMap<Mark, usize>) {
        match mark.is_telling {
            true => self.telling += 1,
            false => self.others += 1,
        }
        if sought.contains_key(&mark) {
            *self.found.entry(mark).or_default() += 1;
        }
    }

    fn len(&self) -> usize {
        self.telling + self.others
    }

    /// How many of its answers the other file has.
    fn shared(&self, mine: &HashMap<Mark, usize>, is_meant: fn(&Mark) -> bool) -> usize {
        let meant = self.found.iter().filter(|(mark, _)| is_meant(mark));
        meant.map(|(mark, number)| mine[mark].min(*number)).sum()
    }

    /// How many answers the larger has beyond the smaller, where it has all of the smaller's.
    fn differ(&self, mine: &HashMap<Mark, usize>) -> Option<usize> {
        let (theirs, mine_all) = (self.len(), mine.values().sum::<usize>());
        let shared = self.shared(mine, |_| true);
        (shared == theirs.min(mine_all)).then(|| theirs.max(mine_all) - shared)
    }

    fn together(files: &[Earlier]) -> Earlier {
        let mut all = Earlier::default();
        for file in files {
            all.telling += file.telling;
            all.others += file.others;
            for (mark, number) in &file.found {
                *all.found.entry(*mark).or_default() += number;
            }
        }
        all
    }
}

/// How often each mark comes.
pub fn counted(marks: &[Mark]) -> HashMap<Mark, usize> {
    let mut counted = HashMap::new();
    for mark in marks {
        *counted.entry(*mark).or_default() += 1;
    }
    counted
}

/// Which of a file's answers are in no earlier file.
///
/// # Errors
/// What is new is too little to be told of beside the earlier files.
pub fn new_ones(marks: &[Mark], files: &[Earlier], floor: Floor) -> Result<Vec<bool>, Repeated> {
    let mine = counted(marks);
    let mut known: HashMap<Mark, usize> = HashMap::new();
    for file in files {
        let shared = file.shared(&mine, |mark| mark.is_telling);
        let goes_on = file.telling > 0 && 2 * shared >= file.telling;
        let again = file
            .found
            .iter()
            .filter(|(mark, _)| mark.is_telling || goes_on);
        // Files share no answers, so what each has of them adds up.
        again.for_each(|(mark, number)| *known.entry(*mark).or_default() += number);
    }
    let is_new = |mark: &Mark| match known.get_mut(mark) {
        Some(left) if *left > 0 => {
            *left -= 1;
            false
        }
        _ => true,
    };
    let news: Vec<bool> = marks.iter().map(is_new).collect();
    let new = news.iter().filter(|is_new| **is_new).count();
    if !floor.admits(new) {
        return Err(Repeated::Few { new });
    }
    let all = Earlier::together(files);
    let earlier = files.iter().chain([&all]).filter(|file| file.len() > 0);
    let nearest = earlier.filter_map(|file| file.differ(&mine)).min();
    match nearest.filter(|differ| !floor.admits(*differ)) {
        Some(differ) => Err(Repeated::Alike { differ }),
        None => Ok(news),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers that nobody else gives, by their number; and of those that many give, by a number below zero.
    fn marks(of: impl IntoIterator<Item = i64>) -> Vec<Mark> {
        let mark = |number: i64| Mark {
            digest: std::array::from_fn(|at| number.to_be_bytes()[at % 8]),
            is_telling: number >= 0,
        };
        of.into_iter().map(mark).collect()
    }

    fn left_out(file: &[Mark], earlier: &[&[Mark]]) -> Result<usize, Repeated> {
        let mine = counted(file);
        let files: Vec<Earlier> = earlier
            .iter()
            .map(|marks| {
                let mut file = Earlier::default();
                marks.iter().for_each(|mark| file.add(*mark, &mine));
                file
            })
            .collect();
        let news = new_ones(file, &files, Floor::default())?;
        Ok(news.iter().filter(|is_new| !**is_new).count())
    }

    #[test]
    fn what_is_known_is_left_out_of_a_file_that_goes_on() {
        let week = marks(0..20);
        assert_eq!(left_out(&marks(0..30), &[&week]), Ok(20));
        assert_eq!(left_out(&marks(15..35), &[&week]), Ok(5));
        assert_eq!(
            left_out(&marks(0..24), &[&week]),
            Err(Repeated::Few { new: 4 })
        );
        let next = marks(20..30);
        assert_eq!(left_out(&marks(0..40), &[&week, &next]), Ok(30));
    }

    #[test]
    fn answers_that_many_give_are_other_people_s_unless_the_file_goes_on() {
        let month = |first: i64| marks((first..first + 40).chain([-1; 6]).chain([-2; 4]));
        assert_eq!(left_out(&month(100), &[&month(0)]), Ok(0));
        let cumulative = marks((0..80).chain([-1; 9]).chain([-2; 4]));
        assert_eq!(left_out(&cumulative, &[&month(0)]), Ok(50));
    }

    #[test]
    fn a_short_survey_is_taken_whole_or_refused() {
        let month = marks((0..60).map(|person| -1 - person % 16));
        let other = marks((0..60).map(|person| -1 - (person * 7 + 3) % 15));
        assert_eq!(left_out(&other, &[&month]), Ok(0));
        assert_eq!(
            left_out(&month, &[&month]),
            Err(Repeated::Alike { differ: 0 })
        );
        let one_more = [month.clone(), marks([-3])].concat();
        assert_eq!(
            left_out(&one_more, &[&month]),
            Err(Repeated::Alike { differ: 1 })
        );
        let both = [month.clone(), other.clone(), marks([-3, -3])].concat();
        assert_eq!(
            left_out(&both, &[&month, &other]),
            Err(Repeated::Alike { differ: 2 })
        );
        let one_full_answer = [month.clone(), marks([7])].concat();
        assert_eq!(
            left_out(&one_full_answer, &[&month]),
            Err(Repeated::Alike { differ: 1 })
        );
    }
}
