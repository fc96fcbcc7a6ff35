//! The report on one organization: one HTML file with everything in it, for a screen and for paper.
//!
//! It shows what the dashboard shows and nothing else, so that what may not be told cannot get in. Drawings are SVG, the
//! words avoid any diagnosis, and the last page says how everything was made.

use super::routes::analytics::{DashboardView, GroupView};
use super::routes::organizations::MomentView;
use super::score::{OVERALL_MAX, OVERALL_MIN, Tier};
use super::survey::Category;
use std::collections::BTreeMap;
use std::fmt::Write;

const STYLE: &str = include_str!("page/report.css");
/// The width that drawings are made for; a page scales them.
const WIDTH: f64 = 720.0;
/// Where bars begin behind the categories' names, on small screens too.
const BARS_X: f64 = 300.0;
/// The colour of tiers that are told together.
const SEVERAL_COLOUR: &str = "#8b98a5";
/// Colours of tiers, worst first.
const TIER_COLOURS: [&str; 5] = [
    "var(--t1)",
    "var(--t2)",
    "var(--t3)",
    "var(--t4)",
    "var(--t5)",
];

/// The report.
pub fn html(view: &DashboardView) -> String {
    let name = escaped(&view.organization.name);
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{name}: psychological safety at work</title>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><style>{STYLE}</style></head><body><main>"
    );
    page.push_str(&head(view));
    for section in [
        tiers(view),
        categories(view),
        heat_map(view),
        trend(&view.trend),
        themes(view),
        interventions(view),
        method(view),
    ] {
        page.push_str(&section);
    }
    page.push_str("<footer>Made by Ombud. Times are dates only; numbers of people are rounded down.</footer></main></body></html>\n");
    page
}

fn head(view: &DashboardView) -> String {
    let name = escaped(&view.organization.name);
    let latest = view
        .trend
        .last()
        .map_or("", |moment| moment.campaign.as_str());
    let mut facts = Vec::new();
    if let Some(group) = &view.group {
        let score = group
            .overall_hseg_score
            .map_or("not told".to_owned(), |score| score.to_string());
        facts.push((score, "overall score, 7 to 28".to_owned()));
        let tier = group
            .overall_risk_tier
            .as_deref()
            .map_or("not told".to_owned(), spoken);
        facts.push((tier, "tier of the score".to_owned()));
        facts.push((
            people(view, group.respondents_at_least),
            "people answered".to_owned(),
        ));
    }
    if let Some(forecast) = &view.forecast {
        let sure = format!(
            "expected in three months ({} % sure)",
            percent(forecast.confidence)
        );
        facts.push((spoken(&forecast.tier), sure));
        if let Some(turnover) = forecast.expected_turnover {
            let interval = forecast
                .turnover_interval
                .map_or(String::new(), |(low, high)| {
                    format!(
                        ", {} to {} %",
                        percent(low.max(0.0)),
                        percent(high.min(1.0))
                    )
                });
            let about = format!("may have left by then{interval}");
            facts.push((format!("{} %", percent(turnover)), about));
        }
    }
    let place = match view.benchmark.percentile {
        Some(percentile) => (
            format!("{percentile:.0} of 100"),
            format!(
                "percentile among {} other {} organizations",
                view.benchmark.others, view.organization.domain
            ),
        ),
        None => (
            "no benchmark yet".to_owned(),
            "it takes two other organizations of the domain".to_owned(),
        ),
    };
    facts.push(place);
    let mut html = format!(
        "<header><p class=\"soft\">Psychological safety at work</p><h1>{name}</h1><p class=\"soft\">{}, closed {} · {}</p></header>{}<ul class=\"facts\">",
        escaped(latest),
        view.closed_on,
        escaped(&view.organization.domain),
        scale(
            view.group
                .as_ref()
                .and_then(|group| group.overall_hseg_score)
        ),
    );
    for (fact, about) in facts {
        let _ = write!(
            html,
            "<li><b>{}</b><span>{}</span></li>",
            escaped(&fact),
            escaped(&about)
        );
    }
    html.push_str("</ul>");
    html
}

/// Where a score stands on its scale.
fn scale(score: Option<f64>) -> String {
    let at = |score: f64| (score - OVERALL_MIN) / (OVERALL_MAX - OVERALL_MIN) * WIDTH;
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} 74\" role=\"img\" aria-label=\"The score on its scale\">"
    );
    let mut from = OVERALL_MIN;
    for tier in Tier::ALL {
        let until = tier.limit().unwrap_or(OVERALL_MAX);
        let (x, width) = (at(from), at(until) - at(from));
        let colour = TIER_COLOURS[tier.index()];
        let _ = write!(
            svg,
            "<rect x=\"{x:.1}\" y=\"28\" width=\"{:.1}\" height=\"16\" rx=\"3\" fill=\"{colour}\"/><text class=\"soft\" x=\"{:.1}\" y=\"64\" text-anchor=\"middle\">{}</text>",
            width - 2.0,
            x + width / 2.0,
            spoken(tier.word())
        );
        from = until;
    }
    if let Some(score) = score {
        let x = at(score).clamp(0.0, WIDTH);
        let anchor = if x > WIDTH - 40.0 {
            "end"
        } else if x < 40.0 {
            "start"
        } else {
            "middle"
        };
        let _ = write!(
            svg,
            "<path d=\"M{x:.1} 26 l-7 -9 h14 z\" fill=\"var(--ink)\"/><rect x=\"{:.1}\" y=\"26\" width=\"2\" height=\"20\" fill=\"var(--ink)\"/><text x=\"{x:.1}\" y=\"12\" text-anchor=\"{anchor}\" font-weight=\"600\">{score}</text>",
            x - 1.0
        );
    }
    svg.push_str("</svg>");
    svg
}

fn tiers(view: &DashboardView) -> String {
    let sets = [
        ("By the score of their answers", &view.tiers),
        (
            "By the forecast for three months later",
            &view.forecast_tiers,
        ),
    ];
    let about = match view.noise_epsilon {
        Some(_) => {
            "About so many people in each tier. Noise was added, so small numbers mean little."
        }
        None => {
            "At least so many people in each tier. Tiers with few people are shown together with their neighbours."
        }
    };
    let mut html = format!("<section><h2>How people are doing</h2><p class=\"soft\">{about}</p>");
    for (title, bands) in sets {
        if bands.is_empty() {
            continue;
        }
        let most = bands
            .iter()
            .map(|band| band.people_at_least)
            .max()
            .unwrap_or(1)
            .max(1) as f64;
        let height = 26.0 + bands.len() as f64 * 30.0;
        let _ = write!(
            html,
            "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\"><text x=\"0\" y=\"14\" font-weight=\"600\">{title}</text>"
        );
        for (place, band) in bands.iter().enumerate() {
            let y = 26.0 + place as f64 * 30.0;
            let width = band.people_at_least as f64 / most * (WIDTH - 300.0);
            // Several tiers together have the colour of none.
            let colour =
                Tier::parse(&band.tiers).map_or(SEVERAL_COLOUR, |it| TIER_COLOURS[it.index()]);
            let _ = write!(
                html,
                "<text x=\"0\" y=\"{:.0}\">{}</text><rect x=\"200\" y=\"{y}\" width=\"{:.1}\" height=\"20\" rx=\"3\" fill=\"{colour}\"/><text x=\"{:.1}\" y=\"{:.0}\">{}</text>",
                y + 15.0,
                escaped(&spoken(&band.tiers)),
                width.max(1.0),
                208.0 + width,
                y + 15.0,
                if band.people_at_least == 0 {
                    "none".to_owned()
                } else {
                    people(view, band.people_at_least)
                },
            );
        }
        html.push_str("</svg>");
    }
    html.push_str("</section>");
    html
}

fn categories(view: &DashboardView) -> String {
    let Some(group) = &view.group else {
        return String::new();
    };
    let height = Category::ALL.len() as f64 * 42.0 + 24.0;
    let at = |score: f64| BARS_X + (score - 1.0) / 3.0 * (WIDTH - BARS_X - 50.0);
    let mut html = format!(
        "<section><h2>Six categories</h2><p class=\"soft\">1 to 4, 4 is healthiest. The upright line is the middle of the other {} organizations here, where there are at least two.</p><svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"Category scores\">",
        escaped(&view.organization.domain)
    );
    for (place, category) in Category::ALL.into_iter().enumerate() {
        let y = place as f64 * 42.0 + 4.0;
        let key = category.number().to_string();
        let _ = write!(
            html,
            "<text x=\"0\" y=\"{:.0}\">{}</text><rect x=\"{BARS_X}\" y=\"{y}\" width=\"{:.1}\" height=\"24\" rx=\"3\" fill=\"var(--tint)\"/>",
            y + 17.0,
            escaped(category.title()),
            at(4.0) - BARS_X
        );
        if let Some(score) = group.category_scores.get(&key).copied().flatten() {
            let colour = TIER_COLOURS[step(score) - 1];
            let _ = write!(
                html,
                "<rect x=\"{BARS_X}\" y=\"{y}\" width=\"{:.1}\" height=\"24\" rx=\"3\" fill=\"{colour}\"/><text x=\"{:.1}\" y=\"{:.0}\">{score}</text>",
                at(score) - BARS_X,
                at(4.0) + 8.0,
                y + 17.0
            );
        }
        if let Some(median) = view
            .benchmark
            .median_categories
            .get(&key)
            .copied()
            .flatten()
        {
            let _ = write!(
                html,
                "<rect x=\"{:.1}\" y=\"{:.0}\" width=\"3\" height=\"32\" fill=\"var(--ink)\"/>",
                at(median) - 1.5,
                y - 4.0
            );
        }
    }
    html.push_str("</svg></section>");
    html
}

fn heat_map(view: &DashboardView) -> String {
    let Some(dimension) = &view.heat_map.dimension else {
        return String::new();
    };
    let mut html = format!(
        "<section><h2>Where it is heavy, where it is well</h2><p class=\"soft\">By {}. Groups below {} people are never shown, nor is anything that their numbers could be worked out from.{}</p><div class=\"scroll\"><table><thead><tr><th>{}</th><th>People</th>",
        escaped(&spoken(dimension)),
        view.group_floor,
        match view.noise_epsilon {
            Some(_) =>
                " Noise was added to every row: one of few people can be far from what they said.",
            None => "",
        },
        escaped(&spoken(dimension))
    );
    for category in Category::ALL {
        let _ = write!(html, "<th>{}</th>", escaped(category.title()));
    }
    html.push_str("<th>Overall</th></tr></thead><tbody>");
    for row in &view.heat_map.rows {
        html.push_str(&heat_row(view, &row.value, &row.group));
    }
    if view.heat_map.has_withheld {
        let _ = write!(
            html,
            "<tr><th>Other groups</th><td class=\"none\" colspan=\"{}\">too small to be shown alone</td></tr>",
            Category::ALL.len() + 2
        );
    }
    html.push_str("</tbody></table></div><p class=\"key\">");
    for (class, words) in [
        ("c1", "below 1.75"),
        ("c2", "1.75 to 2.25"),
        ("c3", "2.25 to 2.75"),
        ("c4", "2.75 to 3.25"),
        ("c5", "above 3.25"),
    ] {
        let _ = write!(html, "<span><i class=\"{class}\"></i>{words}</span>");
    }
    html.push_str("</p></section>");
    html
}

/// A number of people: rounded down, or with noise, which is no lower end of anything.
fn people(view: &DashboardView, number: usize) -> String {
    match view.noise_epsilon {
        Some(_) => format!("about {number}"),
        None => format!("{number}+"),
    }
}

fn heat_row(view: &DashboardView, name: &str, group: &GroupView) -> String {
    let mut html = format!(
        "<tr><th>{}</th><td class=\"none\">{}</td>",
        escaped(name),
        people(view, group.respondents_at_least)
    );
    for category in Category::ALL {
        let score = group
            .category_scores
            .get(&category.number().to_string())
            .copied()
            .flatten();
        html.push_str(&heat_cell(score, score));
    }
    // The overall score on the categories' scale, for its colour alone.
    let overall = group.overall_hseg_score;
    html.push_str(&heat_cell(overall, overall.map(|overall| overall / 7.0)));
    html.push_str("</tr>");
    html
}

fn heat_cell(shown: Option<f64>, score: Option<f64>) -> String {
    match shown.zip(score) {
        Some((shown, score)) => format!("<td class=\"c{}\">{shown}</td>", step(score)),
        None => "<td class=\"none\">–</td>".to_owned(),
    }
}

/// Which of five steps a category score is in.
fn step(score: f64) -> usize {
    let limits = [1.75, 2.25, 2.75, 3.25];
    1 + limits.iter().filter(|limit| score >= **limit).count()
}

fn trend(moments: &[MomentView]) -> String {
    if moments.len() < 2 {
        return String::new();
    }
    const LOW: f64 = 30.0;
    const HEIGHT: f64 = 210.0;
    let number = moments.len() as f64;
    // The first point stands clear of the scale's numbers.
    let x = |place: usize| 110.0 + place as f64 / (number - 1.0) * (WIDTH - 220.0);
    let y = |score: f64| {
        LOW + (OVERALL_MAX - score) / (OVERALL_MAX - OVERALL_MIN) * (HEIGHT - LOW - 40.0)
    };
    let mut html = format!(
        "<section><h2>Over time</h2><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"Overall score by campaign\">"
    );
    for limit in Tier::ALL.into_iter().filter_map(Tier::limit) {
        let at = y(limit);
        let _ = write!(
            html,
            "<line x1=\"50\" x2=\"{:.0}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"var(--line)\"/><text class=\"soft\" x=\"40\" y=\"{:.1}\" text-anchor=\"end\">{limit}</text>",
            WIDTH - 60.0,
            at + 4.0
        );
    }
    let points: Vec<(usize, f64)> = moments
        .iter()
        .enumerate()
        .filter_map(|(place, moment)| Some((place, moment.overall_hseg_score?)))
        .collect();
    let line: Vec<String> = points
        .iter()
        .map(|(place, score)| format!("{:.1},{:.1}", x(*place), y(*score)))
        .collect();
    let _ = write!(
        html,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"var(--mark)\" stroke-width=\"3\"/>",
        line.join(" ")
    );
    for (place, score) in points {
        let moment = &moments[place];
        let _ = write!(
            html,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"5\" fill=\"var(--mark)\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-weight=\"600\" stroke=\"var(--paper)\" stroke-width=\"4\" paint-order=\"stroke\">{score}</text><text class=\"soft\" x=\"{:.1}\" y=\"{:.0}\" text-anchor=\"middle\">{}</text>",
            x(place),
            y(score),
            x(place),
            y(score) - 12.0,
            x(place),
            HEIGHT - 22.0,
            escaped(&moment.campaign)
        );
        let _ = write!(
            html,
            "<text class=\"soft\" x=\"{:.1}\" y=\"{:.0}\" text-anchor=\"middle\">{}</text>",
            x(place),
            HEIGHT - 6.0,
            moment.closed_on
        );
    }
    html.push_str("</svg></section>");
    html
}

fn themes(view: &DashboardView) -> String {
    let mut html = format!(
        "<section><h2>What many wrote of</h2><p class=\"soft\">Phrases that at least {} people used, without names and numbers; and how many open answers speak of each category.</p>",
        2 * view.group_floor
    );
    match view.themes.is_empty() {
        true => html.push_str("<p>No phrase was used by enough people to be shown.</p>"),
        false => {
            html.push_str("<ul class=\"tags\">");
            for theme in &view.themes {
                let _ = write!(
                    html,
                    "<li>{} <small>{}+</small></li>",
                    escaped(&theme.phrase),
                    theme.people_at_least
                );
            }
            html.push_str("</ul>");
        }
    }
    html.push_str(&signals(&view.text_signals));
    html.push_str("</section>");
    html
}

fn signals(signals: &BTreeMap<String, usize>) -> String {
    if signals.is_empty() {
        return String::new();
    }
    let mut html = "<ul class=\"tags\">".to_owned();
    for (category, people) in signals {
        let _ = write!(
            html,
            "<li>{} <small>{people}+</small></li>",
            escaped(category)
        );
    }
    html.push_str("</ul>");
    html
}

fn interventions(view: &DashboardView) -> String {
    let mut html = "<section><h2>What can be done</h2><p class=\"soft\">From a catalogue that people wrote, ranked by how much each category costs, the expected impact, and the effort. Talk them over with those concerned before you begin.</p><ol class=\"acts\">".to_owned();
    for it in &view.recommendations {
        let _ = write!(
            html,
            "<li><h3>{}</h3><p>{}</p><small>{} · {} · effort {} · expected impact {} of 5</small></li>",
            escaped(&it.title),
            escaped(&it.what),
            escaped(&it.category),
            escaped(&it.urgency),
            escaped(&it.effort),
            it.expected_impact
        );
    }
    html.push_str("</ol></section>");
    html
}

fn method(view: &DashboardView) -> String {
    let floor = view.group_floor;
    let noise = match view.noise_epsilon {
        Some(epsilon) => format!(
            "Laplace noise was added to every number, with a privacy loss (epsilon) of {epsilon} for this campaign."
        ),
        None => "No noise was added to the numbers.".to_owned(),
    };
    format!(
        "<section class=\"method\"><h2>How this was made</h2>\
        <p><b>The score</b> is arithmetic: a category is the mean of its answered statements (1 to 4); the overall score is 7 times the weighted mean of the categories, so 7 to 28. Weights: {}. Tiers: Crisis up to 12, At risk up to 16, Mixed up to 20, Safe up to 24, Thriving above.</p>\
        <p><b>The forecast</b> is another thing: what the deployed model expects three months later. Its card says what it learned from: as the kit ships it, from generated data, so that it shows how the method works until it has been trained on real follow-ups. It can be wrong; the number beside it says how sure it is. It is asked with numbers no finer than those told here, and its answer is on record in the ledger.</p>\
        <p><b>Nobody is singled out.</b> When the campaign closed, respondents were divided once into groups of at least {floor}; only sums over whole groups are kept. Groups that are too small are merged with others, which are then not shown alone either, so that no difference of any two numbers, filters or campaigns is about fewer than {floor} people. Means are given no finer than one person could move them, and a tier only where that rounding leaves no doubt of it; numbers of people are rounded down. {noise}</p>\
        <p><b>Limits.</b> People who did not answer are not in these numbers. A group's mean says nothing about any one person. These are patterns at work and no diagnosis of anybody; whoever feels unwell should talk with a professional.</p></section>",
        Category::ALL
            .map(|category| format!("{} {}", escaped(category.title()), category.weight()))
            .join(", ")
    )
}

fn percent(share: f64) -> String {
    format!("{:.0}", share * 100.0)
}

/// A word of the wire as people read it.
fn spoken(word: &str) -> String {
    let plain = word.replace('_', " ");
    match plain.strip_prefix("At Risk") {
        Some(rest) => format!("At risk{rest}"),
        None => plain,
    }
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            letter => safe.push(letter),
        }
    }
    safe
}
