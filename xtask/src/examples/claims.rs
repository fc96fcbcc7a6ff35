//! `examples/claims`: how a union claim ends, in four classes.
//!
//! Fourteen hundred members file three thousand claims over three years. With s = severity (0 to 3),
//! w = witnesses, d = days since the event, p = earlier claims, l = the representative's open cases, and
//! e = how firm the evidence in the description is (-1, 0, 1), each ending has a pull:
//!
//! ```text
//! upheld    =        0.55 s + 0.35 w + 1.30 e - 0.020 d             + 0.7 [safety]
//! settled   =  0.6 + 0.20 s + 0.10 w           - 0.005 d + 0.5 [large site] + 0.8 [benefits, pay]
//! denied    =  0.7 - 0.25 s - 0.25 w - 1.10 e + 0.012 d             + 0.7 [discipline]
//! withdrawn = -0.2 - 0.35 s           - 0.50 e + 0.060 l + 0.25 p   + 1.6 [asks to move on]
//! ```
//!
//! The strongest pull plus noise (0.35 × normal) is the outcome. Gender and age have no pull of their
//! own. Later years bring more severe claims, so the world drifts a little. `days_since_event` and
//! `tenure_years` are sometimes missing. Evidence and the wish to move on stand in the text alone.

use super::ExampleFile;
use super::draw::{Draw, date};
use super::table::Table;

const SEED: u64 = 20_261_101;
const CLAIMS: usize = 3_000;
const NEW_CLAIMS: usize = 5;
const MEMBERS: usize = 1_400;
const DAYS: usize = 1_095;
const NOISE: f64 = 0.35;

const COLUMNS: &[&str] = &[
    "claim_id",
    "member_id",
    "filed_at",
    "department",
    "claim_type",
    "severity",
    "tenure_years",
    "prior_claims",
    "witnesses",
    "days_since_event",
    "open_cases",
    "gender",
    "age_band",
    "description",
    "outcome",
];
pub const TYPES: &[&str] = &["pay", "safety", "discipline", "scheduling", "benefits"];
pub const SEVERITIES: &[&str] = &["low", "medium", "high", "severe"];
pub const GENDERS: &[&str] = &["woman", "man", "nonbinary"];
pub const AGE_BANDS: &[&str] = &["under 30", "30-44", "45-59", "60 and over"];
const DEPARTMENTS: &[&str] = &[
    "warehouse",
    "transit",
    "nursing",
    "kitchen",
    "maintenance",
    "office",
    "school",
    "retail",
];
const LARGE_SITES: &[&str] = &["warehouse", "nursing", "transit"];
const OUTCOMES: &[&str] = &["upheld", "settled", "denied", "withdrawn"];

struct Member {
    id: String,
    department: &'static str,
    tenure_years: f64,
    gender: &'static str,
    age_band: &'static str,
}

/// What the equations above take.
struct Claim {
    claim_type: usize,
    severity: usize,
    witnesses: usize,
    days_since_event: usize,
    prior_claims: usize,
    open_cases: usize,
    evidence: i32,
    wants_to_move_on: bool,
}

pub fn files() -> Vec<ExampleFile> {
    let mut draw = Draw::new(SEED);
    let members: Vec<Member> = (0..MEMBERS).map(|index| member(index, &mut draw)).collect();
    let mut earlier = vec![0; MEMBERS];
    let mut data = Table::new(COLUMNS);
    let mut new = Table::new(&COLUMNS[..COLUMNS.len() - 1]);
    for index in 0..CLAIMS + NEW_CLAIMS {
        let day = index * DAYS / (CLAIMS + NEW_CLAIMS);
        let who = draw.below(MEMBERS);
        let claim = claim(day, earlier[who], &mut draw);
        earlier[who] += 1;
        let outcome = outcome(&claim, &members[who], &mut draw);
        let mut fields = fields(index, day, &claim, &members[who], &mut draw);
        if index >= CLAIMS {
            new.row(&fields);
            continue;
        }
        fields.push(outcome.to_owned());
        data.row(&fields);
    }
    vec![
        data.into_file("examples/claims/data.csv"),
        new.into_file("examples/claims/new.csv"),
    ]
}

fn member(index: usize, draw: &mut Draw) -> Member {
    let age = draw.weighted(&[0.22, 0.34, 0.31, 0.13]);
    Member {
        id: format!("M{:04}", index + 1),
        department: draw.pick(DEPARTMENTS),
        tenure_years: draw.uniform() * (4.0 + 8.0 * age as f64),
        gender: GENDERS[draw.weighted(&[0.49, 0.48, 0.03])],
        age_band: AGE_BANDS[age],
    }
}

fn claim(day: usize, prior_claims: usize, draw: &mut Draw) -> Claim {
    let later = day as f64 / DAYS as f64;
    Claim {
        claim_type: draw.weighted(&[0.26, 0.18, 0.24, 0.20, 0.12]),
        severity: draw.weighted(&[0.30 - 0.08 * later, 0.36, 0.24, 0.10 + 0.08 * later]),
        witnesses: draw.weighted(&[0.42, 0.30, 0.16, 0.08, 0.04]),
        days_since_event: (draw.uniform() * draw.uniform() * 120.0) as usize,
        prior_claims,
        open_cases: 6 + draw.below(30),
        evidence: draw.weighted(&[0.32, 0.33, 0.35]) as i32 - 1,
        wants_to_move_on: draw.chance(0.14),
    }
}

fn outcome(claim: &Claim, member: &Member, draw: &mut Draw) -> &'static str {
    let is = |name: &str| f64::from(u8::from(TYPES[claim.claim_type] == name));
    let (severity, witnesses) = (claim.severity as f64, claim.witnesses as f64);
    let (days, evidence) = (claim.days_since_event as f64, f64::from(claim.evidence));
    let large_site = f64::from(u8::from(LARGE_SITES.contains(&member.department)));
    let pulls = [
        0.55 * severity + 0.35 * witnesses + 1.3 * evidence - 0.02 * days + 0.7 * is("safety"),
        0.6 + 0.2 * severity + 0.1 * witnesses - 0.005 * days
            + 0.5 * large_site
            + 0.8 * (is("benefits") + is("pay")),
        0.7 - 0.25 * severity - 0.25 * witnesses - 1.1 * evidence
            + 0.012 * days
            + 0.7 * is("discipline"),
        -0.2 - 0.35 * severity - 0.5 * evidence
            + 0.06 * claim.open_cases as f64
            + 0.25 * claim.prior_claims as f64
            + 1.6 * f64::from(u8::from(claim.wants_to_move_on)),
    ];
    strongest(&pulls.map(|pull| pull + NOISE * draw.normal()))
}

fn strongest(pulls: &[f64]) -> &'static str {
    let mut best = 0;
    for (index, pull) in pulls.iter().enumerate() {
        if *pull > pulls[best] {
            best = index;
        }
    }
    OUTCOMES[best]
}

fn fields(
    index: usize,
    day: usize,
    claim: &Claim,
    member: &Member,
    draw: &mut Draw,
) -> Vec<String> {
    let tenure = member.tenure_years + day as f64 / 365.0;
    vec![
        format!("C{:05}", index + 1),
        member.id.clone(),
        date(day),
        member.department.to_owned(),
        TYPES[claim.claim_type].to_owned(),
        SEVERITIES[claim.severity].to_owned(),
        known(draw, 0.96, format!("{tenure:.1}")),
        claim.prior_claims.to_string(),
        claim.witnesses.to_string(),
        known(draw, 0.94, claim.days_since_event.to_string()),
        claim.open_cases.to_string(),
        member.gender.to_owned(),
        member.age_band.to_owned(),
        description(claim, draw),
    ]
}

fn known(draw: &mut Draw, probability: f64, value: String) -> String {
    if draw.chance(probability) {
        value
    } else {
        String::new()
    }
}

fn description(claim: &Claim, draw: &mut Draw) -> String {
    let mut words = draw.pick(openings(TYPES[claim.claim_type])).to_owned();
    for sentence in [
        draw.pick(proofs(claim.evidence)),
        draw.pick(wishes(claim.wants_to_move_on)),
    ] {
        if !sentence.is_empty() {
            words = words + ", " + sentence;
        }
    }
    words
}

fn openings(claim_type: &str) -> &'static [&'static str] {
    match claim_type {
        "pay" => &[
            "overtime was not paid",
            "night premium missing",
            "wrong pay step since spring",
        ],
        "safety" => &[
            "machine guard was missing",
            "no protective gloves",
            "blocked emergency exit",
        ],
        "discipline" => &[
            "warning without a hearing",
            "suspended after a dispute",
            "written up for lateness",
        ],
        "scheduling" => &[
            "shift changed overnight",
            "rest time was cut",
            "vacation refused twice",
        ],
        _ => &[
            "sick leave was denied",
            "pension months missing",
            "parental leave refused",
        ],
    }
}

fn proofs(evidence: i32) -> &'static [&'static str] {
    match evidence {
        1 => &[
            "photos and pay slips attached",
            "signed statement enclosed",
            "the log shows it",
        ],
        0 => &["", "some notes were kept", "the supervisor was told"],
        _ => &[
            "nothing in writing",
            "no record was kept",
            "only hearsay so far",
        ],
    }
}

fn wishes(wants_to_move_on: bool) -> &'static [&'static str] {
    if wants_to_move_on {
        return &[
            "would rather move on",
            "starting another job soon",
            "does not want trouble",
        ];
    }
    &["", "", "wants a correction", "asks for a meeting"]
}
