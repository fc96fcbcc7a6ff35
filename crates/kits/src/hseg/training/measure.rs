//! Measures the trained models on a world that nothing has seen.

use super::quality::{Beside, Line, Measured};
use super::{
    ORGANIZATIONS_MEASURED, TrainingError, exam, fresh_people, made, output_place, recipes, tables,
};
use crate::hseg::generate::ceiling::{self, Ceiling};
use crate::hseg::generate::{Generated, Generator, Options, Phrases, TextLabel};
use crate::hseg::reading::{Read, Reader};
use crate::hseg::score::{Score, Tier};
use crate::hseg::text::TextRisk;
use ombud_core::answer::Prediction;
use ombud_engine::Model;
use ombud_learn::progress::Progress;
use rayon::prelude::*;

/// Whether a reading says something of a text.
type Claim<'a> = &'a dyn Fn(&Read) -> bool;

/// People whose Bayes ceiling is integrated; the others add nothing but time.
const INTEGRATED: usize = 4_000;

/// What is measured.
pub(super) struct Models<'m> {
    pub(super) reader: Reader<'m>,
    pub(super) individual: &'m Model,
    pub(super) organization: &'m Model,
    pub(super) turnover: &'m Model,
}

pub(super) fn all(
    models: &Models<'_>,
    seed: u64,
    progress: &dyn Progress,
) -> Result<Vec<Line>, TrainingError> {
    let mut lines = Vec::new();
    let generator = fresh_people(seed, Phrases::Common);
    let people = made(
        fresh_people(seed, Phrases::Common),
        "measuring texts",
        progress,
    )?;
    lines.extend(texts(&models.reader, &generated(&people), &COMMON)?);
    let reserved = made(
        fresh_people(seed, Phrases::Reserved),
        "measuring unseen wording",
        progress,
    )?;
    lines.extend(texts(&models.reader, &generated(&reserved), &UNSEEN)?);
    lines.extend(texts(&models.reader, &exam::texts(), &EXAM)?);
    progress.start("measuring forecasts", None);
    lines.push(individuals(models, &generator, &people)?);
    progress.finish();
    progress.start(
        "measuring organizations",
        Some(ORGANIZATIONS_MEASURED as u64),
    );
    lines.extend(organizations(models, seed, progress)?);
    progress.finish();
    Ok(lines)
}

/// What lines about texts are called.
struct Wording {
    accuracy: &'static str,
    recall: &'static str,
    precision: &'static str,
    signals: &'static str,
}

const COMMON: Wording = Wording {
    accuracy: "accuracy of the level",
    recall: "recall of crisis",
    precision: "precision of crisis",
    signals: "category signals right",
};
const UNSEEN: Wording = Wording {
    accuracy: "accuracy of the level, unseen wording",
    recall: "recall of crisis, unseen wording",
    precision: "precision of crisis, unseen wording",
    signals: "category signals right, unseen wording",
};

const EXAM: Wording = Wording {
    accuracy: "accuracy of the level, another author",
    recall: "recall of crisis, another author",
    precision: "precision of crisis, another author",
    signals: "category signals right, another author",
};

/// A text that people labelled.
pub(super) struct Labelled {
    pub(super) text: String,
    pub(super) label: TextLabel,
    /// The chance of the likeliest label, where it is known; nobody can be right more often.
    pub(super) ceiling: Option<f64>,
}

/// What people wrote in a world, as readers labelled it.
fn generated(people: &[Generated]) -> Vec<Labelled> {
    let labelled = |it: &Generated| {
        Some(Labelled {
            text: it.record.text().unwrap_or_default(),
            label: it.record.label?,
            ceiling: ceiling::reading(it),
        })
    };
    people.iter().filter_map(labelled).collect()
}

/// A labelled text with what both nets say.
struct Judged {
    label: TextLabel,
    read: Read,
}

fn texts(
    reader: &Reader<'_>,
    written: &[Labelled],
    wording: &Wording,
) -> Result<Vec<Line>, TrainingError> {
    let judge = |it: &Labelled| -> Result<Judged, TrainingError> {
        Ok(Judged {
            label: it.label,
            read: reader.read(&it.text)?,
        })
    };
    let judged: Vec<Judged> = written.par_iter().map(judge).collect::<Result<_, _>>()?;
    let rows = judged.len();
    let share = |hit: &dyn Fn(&Judged) -> bool| {
        Measured::share(judged.iter().filter(|it| hit(it)).count(), rows)
    };
    let majority = TextRisk::ALL
        .into_iter()
        .map(|risk| share(&|it| it.label.risk == risk))
        .max_by(|a, b| a.value.total_cmp(&b.value));
    let name = recipes::TEXT.name;
    let mut lines = vec![Line {
        model: name,
        what: wording.accuracy,
        rows,
        measured: share(&|it| it.read.risk == it.label.risk),
        baselines: majority
            .into_iter()
            .map(|measured| Beside {
                name: "majority",
                measured,
            })
            .collect(),
        ceilings: agreement(written),
    }];
    let crises: Vec<&Judged> = judged
        .iter()
        .filter(|it| it.label.risk == TextRisk::Crisis)
        .collect();
    let recall = |found: &dyn Fn(&Read) -> bool| {
        Measured::share(
            crises.iter().filter(|it| found(&it.read)).count(),
            crises.len(),
        )
    };
    let precision = |found: &dyn Fn(&Read) -> bool| {
        let taken: Vec<&Judged> = judged.iter().filter(|it| found(&it.read)).collect();
        Measured::share(
            taken
                .iter()
                .filter(|it| it.label.risk == TextRisk::Crisis)
                .count(),
            taken.len(),
        )
    };
    let model = |read: &Read| read.risk == TextRisk::Crisis;
    let lexicon = |read: &Read| read.reading.is_crisis;
    let either = |read: &Read| read.is_crisis();
    let nets = |measure: &dyn Fn(Claim<'_>) -> Measured| {
        vec![
            Beside {
                name: "lexicon",
                measured: measure(&lexicon),
            },
            Beside {
                name: "either net",
                measured: measure(&either),
            },
        ]
    };
    lines.push(Line {
        model: name,
        what: wording.recall,
        rows: crises.len(),
        measured: recall(&model),
        baselines: nets(&recall),
        ceilings: Vec::new(),
    });
    lines.push(Line {
        model: name,
        what: wording.precision,
        rows: crises.len(),
        measured: precision(&model),
        baselines: nets(&precision),
        ceilings: Vec::new(),
    });
    lines.push(signals(&judged, wording));
    Ok(lines)
}

/// How often readers agree, where that is known of every text.
fn agreement(written: &[Labelled]) -> Vec<Beside> {
    let chances: Option<Vec<f64>> = written.iter().map(|it| it.ceiling).collect();
    let ceiling = chances.map(|chances| ceiling_of("readers' agreement", Ceiling::of(chances)));
    ceiling.into_iter().collect()
}

/// How many of the six yes-or-no questions about a text are answered as the readers did.
fn signals(judged: &[Judged], wording: &Wording) -> Line {
    let right = |it: &Judged, of: &dyn Fn(usize) -> bool| {
        (0..6).filter(|k| of(*k) == it.label.signals[*k]).count()
    };
    let total = judged.len() * 6;
    let by_model = judged
        .iter()
        .map(|it| right(it, &|k| it.read.outputs.signals[k] >= 0.5))
        .sum();
    let never = judged.iter().map(|it| right(it, &|_| false)).sum();
    let by_lexicon = judged
        .iter()
        .map(|it| right(it, &|k| !it.read.reading.signals[k].is_empty()))
        .sum();
    Line {
        model: recipes::SIGNALS.name,
        what: wording.signals,
        rows: judged.len(),
        measured: Measured::share(by_model, total),
        baselines: vec![
            Beside {
                name: "never",
                measured: Measured::share(never, total),
            },
            Beside {
                name: "lexicon",
                measured: Measured::share(by_lexicon, total),
            },
        ],
        ceilings: Vec::new(),
    }
}

fn individuals(
    models: &Models<'_>,
    generator: &Generator,
    people: &[Generated],
) -> Result<Line, TrainingError> {
    let records = people
        .iter()
        .enumerate()
        .map(|(place, it)| (place, &it.record))
        .collect();
    let texts = tables::read_all(&models.reader, records)?;
    let forecast = |(place, text): &(usize, Option<_>)| -> Result<Tier, TrainingError> {
        let row = tables::features(&people[*place].record, text.as_ref()).row();
        let answer = models
            .individual
            .predict(&models.individual.parser().parse_value(&row)?);
        Ok(tier_of(models.individual, &answer.prediction))
    };
    let forecasts: Vec<Tier> = texts.par_iter().map(forecast).collect::<Result<_, _>>()?;
    let truths: Vec<Tier> = people.iter().map(|it| it.record.outcome.tier).collect();
    let formula: Vec<Option<Tier>> = people
        .iter()
        .map(|it| Score::of(&it.record.ratings).map(|score| score.tier))
        .collect();
    let clustered = |hit: &dyn Fn(usize) -> bool| {
        let rows = people
            .iter()
            .enumerate()
            .map(|(place, it)| (it.record.organization, f64::from(u8::from(hit(place)))));
        Measured::clustered(rows, generator.options().seed)
    };
    let majority = Tier::ALL.map(|tier| clustered(&|place| truths[place] == tier));
    let majority = majority
        .into_iter()
        .max_by(|a, b| a.value.total_cmp(&b.value));
    let integrated: Vec<f64> = people
        .par_iter()
        .take(INTEGRATED)
        .map(|it| ceiling::bayes(generator, it))
        .collect();
    let mut baselines = vec![Beside {
        name: "formula alone",
        measured: clustered(&|place| formula[place] == Some(truths[place])),
    }];
    baselines.extend(majority.map(|measured| Beside {
        name: "majority",
        measured,
    }));
    Ok(Line {
        model: recipes::INDIVIDUAL.name,
        what: "accuracy of the tier at follow-up",
        rows: people.len(),
        measured: clustered(&|place| forecasts[place] == truths[place]),
        baselines,
        ceilings: vec![
            ceiling_of("Bayes", Ceiling::of(integrated)),
            ceiling_of("oracle", Ceiling::of(people.iter().map(ceiling::oracle))),
        ],
    })
}

fn organizations(
    models: &Models<'_>,
    seed: u64,
    progress: &dyn Progress,
) -> Result<Vec<Line>, TrainingError> {
    let generator = Generator::new(Options {
        seed: seed.wrapping_add(1),
        organizations: ORGANIZATIONS_MEASURED,
        ..Options::default()
    });
    let groups = tables::groups(&generator, &models.reader, progress)?;
    let rows = groups.len();
    let mut forecasts = Vec::with_capacity(rows);
    let mut turnovers = Vec::with_capacity(rows);
    for group in &groups {
        let row = group.aggregate.row();
        let answer = models
            .organization
            .predict(&models.organization.parser().parse_value(&row)?);
        forecasts.push(tier_of(models.organization, &answer.prediction));
        let answer = models
            .turnover
            .predict(&models.turnover.parser().parse_value(&row)?);
        turnovers.push(answer.prediction);
    }
    let share = |hit: &dyn Fn(usize) -> bool| {
        Measured::share((0..rows).filter(|place| hit(*place)).count(), rows)
    };
    let majority = Tier::ALL.map(|tier| share(&|place| groups[place].outcome.tier == tier));
    let mut baselines = vec![Beside {
        name: "formula alone",
        measured: share(&|place| groups[place].aggregate.tier == groups[place].outcome.tier),
    }];
    let majority = majority
        .into_iter()
        .max_by(|a, b| a.value.total_cmp(&b.value));
    baselines.extend(majority.map(|measured| Beside {
        name: "majority",
        measured,
    }));
    let best = |chances: [f64; 5]| chances.into_iter().fold(0.0, f64::max);
    let tier = Line {
        model: recipes::ORGANIZATION.name,
        what: "accuracy of the tier at follow-up",
        rows,
        measured: share(&|place| forecasts[place] == groups[place].outcome.tier),
        baselines,
        ceilings: vec![ceiling_of(
            "oracle",
            Ceiling::of(groups.iter().map(|it| best(it.outcome.chances))),
        )],
    };
    Ok([vec![tier], turnover(&groups, &turnovers, seed)].concat())
}

fn turnover(groups: &[tables::Group], answers: &[Prediction], seed: u64) -> Vec<Line> {
    let truth = |place: usize| groups[place].outcome.turnover;
    let rows = groups.len();
    let mean = (0..rows).map(truth).sum::<f64>() / rows as f64;
    let error = |of: &dyn Fn(usize) -> f64| {
        Measured::clustered(
            (0..rows).map(|place| (place, (of(place) - truth(place)).abs())),
            seed,
        )
    };
    let predicted = |place: usize| match &answers[place] {
        Prediction::Number { value, .. } => *value,
        _ => f64::NAN,
    };
    let holds = |place: &usize| match &answers[*place] {
        Prediction::Number {
            interval: Some((low, high)),
            ..
        } => (*low..=*high).contains(&truth(*place)),
        _ => false,
    };
    vec![
        Line {
            model: recipes::TURNOVER.name,
            what: "mean absolute error of turnover",
            rows,
            measured: error(&predicted),
            baselines: vec![Beside {
                name: "always the mean",
                measured: error(&|_| mean),
            }],
            ceilings: Vec::new(),
        },
        Line {
            model: recipes::TURNOVER.name,
            what: "intervals promised at 0.9 that hold",
            rows,
            measured: Measured::share((0..rows).filter(holds).count(), rows),
            baselines: Vec::new(),
            ceilings: Vec::new(),
        },
    ]
}

fn tier_of(model: &Model, prediction: &Prediction) -> Tier {
    let Prediction::Class { index, .. } = prediction else {
        return Tier::Mixed;
    };
    let is_it = |tier: &Tier| output_place(model, tier.word()) == Some(*index);
    Tier::ALL.into_iter().find(is_it).unwrap_or(Tier::Mixed)
}

fn ceiling_of(name: &'static str, ceiling: Ceiling) -> Beside {
    Beside {
        name,
        measured: Measured {
            value: ceiling.value,
            lower: ceiling.lower,
            upper: ceiling.upper,
        },
    }
}
