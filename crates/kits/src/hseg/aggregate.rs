//! An organization, or any group of people, as numbers: the same pure function for training and for serving.
//!
//! Means, spreads, quartiles, shares of tiers, rates of risk by category, and what the texts say, over at least
//! [`MEMBERS_MIN`] people. Nothing here can be traced to one person as long as groups are not smaller; whether two groups
//! may be told beside each other is the concern of whoever publishes them.

use super::anonymity::release::precision;
use super::features::{TextOutputs, as_json};
use super::score::{OVERALL_MAX, OVERALL_MIN, Score, Tier};
use super::survey::{Category, Domain};
use super::text::TextRisk;
use crate::table::{Cell, Column, ColumnKind};
use serde_json::{Map, Value};

/// Fewer people are never told about.
pub const MEMBERS_MIN: usize = 5;
/// A category score up to this is a risk.
pub const RISK_LIMIT: f64 = 2.0;

/// One person's part in an aggregate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Member {
    pub score: Score,
    /// What the text models say; `None` when nothing was written.
    pub text: Option<TextOutputs>,
    /// [`super::demographics::ResponseQuality::reliability`].
    pub reliability: f64,
}

/// Mean, spread and quartiles of one score over a group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    pub mean: f64,
    /// Standard deviation of the people in the group.
    pub deviation: f64,
    /// A quarter of the group is at or below the first, half at or below the second, three quarters the third.
    pub quartiles: [f64; 3],
}

/// A group as numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Aggregate {
    pub domain: Domain,
    pub employees: Option<u32>,
    pub members: usize,
    pub overall: Spread,
    /// `None` where nobody answered a question of it.
    pub categories: [Option<Spread>; 6],
    /// The share of people with a category score up to [`RISK_LIMIT`].
    pub risk_rates: [Option<f64>; 6],
    /// The share of people in each tier, Crisis first.
    pub tier_shares: [f64; 5],
    /// The formula on the mean category scores.
    pub tier: Tier,
    pub text: Option<TextAggregate>,
    pub reliability: f64,
}

/// What a group's texts say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TextAggregate {
    /// The share of people who wrote.
    pub written: f64,
    /// Mean chances, over those who wrote.
    pub risk: [f64; 5],
    pub signals: [f64; 6],
    pub intensity: f64,
}

/// Too few people to be told about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{members} people are fewer than the {MEMBERS_MIN} below which nothing is told of a group")]
pub struct TooFew {
    pub members: usize,
}

impl Aggregate {
    /// # Errors
    /// Fewer than [`MEMBERS_MIN`] people.
    pub fn of(
        domain: Domain,
        employees: Option<u32>,
        members: &[Member],
    ) -> Result<Aggregate, TooFew> {
        let too_few = TooFew {
            members: members.len(),
        };
        if members.len() < MEMBERS_MIN {
            return Err(too_few);
        }
        let overall = spread(members.iter().map(|it| it.score.overall)).ok_or(too_few)?;
        let of_category = |category: Category| {
            members
                .iter()
                .filter_map(move |it| it.score.category(category))
        };
        let categories = Category::ALL.map(|category| spread(of_category(category)));
        let means = categories.map(|it| it.map(|spread| spread.mean));
        let in_tier =
            |tier: Tier| share(members.iter().map(|it| it.score.tier == tier)).unwrap_or(0.0);
        Ok(Aggregate {
            domain,
            employees,
            members: members.len(),
            overall,
            categories,
            risk_rates: Category::ALL
                .map(|category| share(of_category(category).map(|it| it <= RISK_LIMIT))),
            tier_shares: Tier::ALL.map(in_tier),
            tier: Score::of_categories(means).map_or(Tier::of(overall.mean), |score| score.tier),
            text: TextAggregate::of(members),
            reliability: mean(members.iter().map(|it| it.reliability)).unwrap_or(0.0),
        })
    }

    /// The same, no finer than what is told of a group: a model that is asked with it can tell nothing that a difference of
    /// two groups would find in the last digits.
    #[must_use]
    pub fn coarse(&self, floor: usize) -> Aggregate {
        let floor = floor.max(1);
        let members = (self.members / floor * floor).max(floor);
        let people = members as f64;
        // A share is a count: it moves by whole people, so its step is a floor of them.
        let share = |share: f64| stepped(share, precision(floor as f64, people).max(0.05));
        let spread = |of: Spread, range: f64| {
            // One person far from all others moves a mean by a part of the range, but a spread by the root of that part: of a
            // spread only the whole steps are told, so that one person makes none.
            let step = precision(range, people.sqrt());
            Spread {
                mean: stepped(of.mean, precision(range, people)),
                deviation: (of.deviation / step).floor() * step,
                quartiles: of.quartiles.map(|it| stepped(it, step)),
            }
        };
        Aggregate {
            members,
            overall: spread(self.overall, OVERALL_MAX - OVERALL_MIN),
            categories: self.categories.map(|it| it.map(|it| spread(it, 3.0))),
            risk_rates: self.risk_rates.map(|it| it.map(share)),
            tier_shares: self.tier_shares.map(share),
            text: self.text.map(|text| TextAggregate {
                written: share(text.written),
                risk: text.risk.map(share),
                signals: text.signals.map(share),
                intensity: share(text.intensity),
            }),
            reliability: share(self.reliability),
            ..self.clone()
        }
    }

    /// The score of the mean categories, for rules that take one.
    pub fn score(&self) -> Option<Score> {
        Score::of_categories(self.categories.map(|it| it.map(|spread| spread.mean)))
    }

    /// The columns of a training table, in the order of [`Aggregate::cells`].
    pub fn columns() -> Vec<Column> {
        let nobody = Spread {
            mean: 0.0,
            deviation: 0.0,
            quartiles: [0.0; 3],
        };
        let shape = Aggregate {
            domain: Domain::Business,
            employees: None,
            members: 0,
            overall: nobody,
            categories: [None; 6],
            risk_rates: [None; 6],
            tier_shares: [0.0; 5],
            tier: Tier::Mixed,
            text: None,
            reliability: 0.0,
        };
        shape
            .named()
            .into_iter()
            .map(|(name, kind, _)| Column { name, kind })
            .collect()
    }

    /// A row of a training table.
    pub fn cells(&self) -> Vec<Cell> {
        self.named().into_iter().map(|(_, _, cell)| cell).collect()
    }

    /// The body of a question: known values by name.
    pub fn row(&self) -> Value {
        let known = self
            .named()
            .into_iter()
            .filter_map(|(name, _, cell)| Some((name, as_json(cell)?)));
        Value::Object(known.collect::<Map<String, Value>>())
    }

    fn named(&self) -> Vec<(String, ColumnKind, Cell)> {
        let mut list = vec![(
            "domain".to_owned(),
            ColumnKind::Text,
            Cell::Text(self.domain.word().to_owned()),
        )];
        let mut number = |name: String, value: Option<f64>| {
            list.push((name, ColumnKind::Number, Cell::number(value)));
        };
        number("members".into(), Some(self.members as f64));
        number("employees".into(), self.employees.map(f64::from));
        let participation = self
            .employees
            .map(|it| self.members as f64 / f64::from(it.max(1)));
        number("participation".into(), participation);
        let mut spread = |name: &str, of: Option<Spread>| {
            number(format!("{name}_mean"), of.map(|it| it.mean));
            number(format!("{name}_deviation"), of.map(|it| it.deviation));
            for (quartile, place) in ["q25", "q50", "q75"].iter().zip(0..) {
                number(
                    format!("{name}_{quartile}"),
                    of.map(|it| it.quartiles[place]),
                );
            }
        };
        spread("overall", Some(self.overall));
        for category in Category::ALL {
            spread(category.word(), self.categories[category.index()]);
        }
        for category in Category::ALL {
            number(
                format!("{}_risk_rate", category.word()),
                self.risk_rates[category.index()],
            );
        }
        for tier in Tier::ALL {
            let name = format!("share_{}", tier.word().to_lowercase());
            number(name, Some(self.tier_shares[tier.index()]));
        }
        number("reliability".into(), Some(self.reliability));
        number(
            "text_written".into(),
            Some(self.text.map_or(0.0, |it| it.written)),
        );
        for risk in TextRisk::ALL {
            let name = format!("text_{}", risk.class());
            number(name, self.text.map(|it| it.risk[risk.index()]));
        }
        for category in Category::ALL {
            number(
                format!("text_{}", category.word()),
                self.text.map(|it| it.signals[category.index()]),
            );
        }
        number("text_intensity".into(), self.text.map(|it| it.intensity));
        list
    }
}

impl TextAggregate {
    fn of(members: &[Member]) -> Option<TextAggregate> {
        let texts: Vec<&TextOutputs> = members.iter().filter_map(|it| it.text.as_ref()).collect();
        let mean_of = |value: &dyn Fn(&TextOutputs) -> f64| mean(texts.iter().map(|it| value(it)));
        Some(TextAggregate {
            written: texts.len() as f64 / members.len() as f64,
            intensity: mean_of(&|it| it.intensity)?,
            risk: std::array::from_fn(|at| mean_of(&|it| it.risk[at]).unwrap_or(0.0)),
            signals: std::array::from_fn(|at| mean_of(&|it| it.signals[at]).unwrap_or(0.0)),
        })
    }
}

fn stepped(value: f64, step: f64) -> f64 {
    (value / step).round() * step
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (count, sum) = values.fold((0usize, 0.0), |(count, sum), value| {
        (count + 1, sum + value)
    });
    (count > 0).then(|| sum / count as f64)
}

fn share(holds: impl Iterator<Item = bool>) -> Option<f64> {
    mean(holds.map(|it| f64::from(u8::from(it))))
}

fn spread(values: impl Iterator<Item = f64>) -> Option<Spread> {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let mean = mean(sorted.iter().copied())?;
    let variance = sorted.iter().map(|it| (it - mean).powi(2)).sum::<f64>() / sorted.len() as f64;
    Some(Spread {
        mean,
        deviation: variance.sqrt(),
        quartiles: [0.25, 0.5, 0.75].map(|at| quantile(&sorted, at)),
    })
}

/// Between the two nearest values, as numpy's `linear`.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (below, rest) = (place.floor() as usize, place.fract());
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + rest * (sorted[above] - sorted[below])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(score: f64) -> Member {
        Member {
            score: Score::of_categories([Some(score); 6]).unwrap(),
            text: None,
            reliability: 1.0,
        }
    }

    #[test]
    fn a_group_below_five_is_not_told_about() {
        let four = [member(2.0); 4];
        assert_eq!(
            Aggregate::of(Domain::Business, None, &four),
            Err(TooFew { members: 4 })
        );
    }

    #[test]
    fn means_quartiles_shares_and_rates_are_those_of_the_people() {
        let people: Vec<Member> = [1.0, 2.0, 2.0, 3.0, 4.0].map(member).to_vec();
        let group = Aggregate::of(Domain::Business, Some(50), &people).unwrap();
        assert!((group.overall.mean - 7.0 * 2.4).abs() < 1e-9);
        assert_eq!(group.overall.quartiles.map(f64::round), [14.0, 14.0, 21.0]);
        assert_eq!(group.risk_rates[0], Some(0.6));
        assert_eq!(group.tier_shares, [0.2, 0.4, 0.0, 0.2, 0.2]);
        assert_eq!(group.tier, Tier::Mixed);
        assert_eq!(group.row()["participation"], 0.1);
        assert!(group.row().get("text_crisis").is_none());
    }

    #[test]
    fn what_is_asked_coarsely_hides_what_one_person_said() {
        let group = |last: f64| {
            let people = [1.5, 2.5, 2.5, 2.5, 3.0, 3.5].repeat(10);
            let people: Vec<Member> = people.into_iter().chain([last]).map(member).collect();
            Aggregate::of(Domain::Business, None, &people).unwrap()
        };
        let rows = [2.5, 2.6, 2.8].map(|last| group(last).coarse(5).row().to_string());
        assert_ne!(group(2.5).row(), group(2.6).row());
        assert!(rows.iter().all(|row| row == &rows[0]), "{rows:#?}");
        assert_eq!(group(2.5).coarse(5).members, 60);
        let group = |last: f64| {
            let people = [3.25; 19].into_iter().chain([last]);
            let people: Vec<Member> = people.map(member).collect();
            Aggregate::of(Domain::Business, None, &people).unwrap()
        };
        let rows = [3.25, 1.0].map(|last| group(last).coarse(5).row());
        assert_eq!(rows[0], rows[1], "one far from all others");
    }

    #[test]
    fn a_table_and_a_question_hold_the_same_values() {
        let text = TextOutputs {
            risk: [0.2; 5],
            signals: [0.1; 6],
            intensity: 0.5,
            is_crisis_by_lexicon: false,
        };
        let mut people = vec![member(3.0); 6];
        people[0].text = Some(text);
        let group = Aggregate::of(Domain::University, None, &people).unwrap();
        let row = group.row();
        for (column, cell) in Aggregate::columns().iter().zip(group.cells()) {
            assert_eq!(
                row.get(&column.name).cloned(),
                as_json(cell),
                "{}",
                column.name
            );
        }
        assert_eq!(row["text_intensity"], 0.5);
    }
}
