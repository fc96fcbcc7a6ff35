//! `examples/notes`: short messages to a members' office, by what they need.
//!
//! A message is a greeting, a core that belongs to its class, and an ending; cores share words across
//! classes (a *shift* is asked for, complained about and feared), so that single words do not decide.
//! Four labels in a hundred are wrong, as when people label. `needs_a_person_now` is rare on purpose: it
//! is the class that a wanted recall is for.

use super::ExampleFile;
use super::draw::Draw;
use super::table::Table;

const SEED: u64 = 20_261_104;
const NOTES: usize = 1_200;
const NEW_NOTES: usize = 5;
const WRONG_LABELS: f64 = 0.04;

const COLUMNS: &[&str] = &["note_id", "text", "need"];

/// A class: its name, its share, and what its messages say. `{}` takes a word of `FILLERS`.
struct Need {
    name: &'static str,
    share: f64,
    cores: &'static [&'static str],
}

const NEEDS: &[Need] = &[
    Need {
        name: "schedule",
        share: 0.24,
        cores: &[
            "can I swap my {} shift next week",
            "when does the {} roster come out",
            "I need to move my day off to {}",
            "is there a free {} slot for a call",
            "please book me for the {} meeting",
            "my {} shift and the training overlap",
            "who covers {} while I am away",
            "could I start later on {}",
        ],
    },
    Need {
        name: "paperwork",
        share: 0.22,
        cores: &[
            "where do I send the {} form",
            "the {} portal does not take my upload",
            "I lost my membership card after the {} event",
            "how do I change my address in the {} file",
            "do you need a copy of the {} letter",
            "which form is right for {} leave",
            "please confirm that the {} papers arrived",
            "my {} form came back unsigned",
        ],
    },
    Need {
        name: "pay",
        share: 0.22,
        cores: &[
            "my {} overtime is missing on the slip",
            "the {} shift premium was not paid",
            "why is my {} pay lower this month",
            "dues were taken twice in {}",
            "am I owed money for the {} training",
            "the {} rate on my slip looks wrong",
            "when is the {} bonus paid out",
            "they paid the wrong {} step again",
        ],
    },
    Need {
        name: "feedback",
        share: 0.18,
        cores: &[
            "the {} meeting was really useful",
            "thanks for the help with my {} claim",
            "the new {} roster is a mess and nobody asked us",
            "the steward on {} did a great job",
            "the {} newsletter is too long",
            "I like the new {} training",
            "you should offer {} meetings online",
            "the answer about {} took far too long",
        ],
    },
    Need {
        name: "needs_a_person_now",
        share: 0.14,
        cores: &[
            "I cannot face the {} shift and I am not safe with my thoughts",
            "he threatened me after the {} meeting and I am scared to go in",
            "I do not feel safe on {} please call me",
            "everything is too much since {} and I see no way on",
            "someone was hurt on the {} shift and nobody is helping",
            "I was followed to my car after {} again",
            "I have not slept since {} and I am at the end of my strength",
            "please can someone talk to me tonight it got worse on {}",
        ],
    },
];
const FILLERS: &[&str] = &[
    "Monday",
    "Friday",
    "Sunday",
    "night",
    "early",
    "late",
    "summer",
    "holiday",
    "warehouse",
    "ward",
    "depot",
    "branch",
    "spring",
    "weekend",
];
const GREETINGS: &[&str] = &[
    "",
    "",
    "hi, ",
    "hello, ",
    "good morning, ",
    "sorry to bother you, ",
];
const ENDINGS: &[&str] = &[
    "",
    "",
    "",
    " thanks",
    ", please let me know",
    ", not urgent",
    " today if possible",
];

pub fn files() -> Vec<ExampleFile> {
    let mut draw = Draw::new(SEED);
    let mut data = Table::new(COLUMNS);
    let mut new = Table::new(&COLUMNS[..COLUMNS.len() - 1]);
    for index in 0..NOTES + NEW_NOTES {
        let need = draw_need(&mut draw);
        let mut fields = vec![format!("N{:05}", index + 1), text(need, &mut draw)];
        let label = if draw.chance(WRONG_LABELS) {
            draw_need(&mut draw)
        } else {
            need
        };
        if index >= NOTES {
            new.row(&fields);
            continue;
        }
        fields.push(label.name.to_owned());
        data.row(&fields);
    }
    vec![
        data.into_file("examples/notes/data.csv"),
        new.into_file("examples/notes/new.csv"),
    ]
}

fn draw_need(draw: &mut Draw) -> &'static Need {
    let shares: Vec<f64> = NEEDS.iter().map(|need| need.share).collect();
    &NEEDS[draw.weighted(&shares)]
}

fn text(need: &Need, draw: &mut Draw) -> String {
    let core = draw.pick(need.cores).replace("{}", draw.pick(FILLERS));
    format!("{}{core}{}", draw.pick(GREETINGS), draw.pick(ENDINGS))
}
