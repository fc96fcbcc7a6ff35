//! `ombud kit hseg demo`: the whole kit on generated people, in a fresh folder.

use super::quality_table;
use crate::commands::Outcome;
use crate::commands::deploy::register_bundle;
use crate::console::{Console, Shade};
use crate::failure::Failure;
use crate::numbers::{count, seconds};
use crate::progress::{self, Shown};
use crate::settings::{self, Settings, runtime};
use clap::Args;
use ombud_api::metrics::Metrics;
use ombud_api::open;
use ombud_api::{Config, House};
use ombud_core::Class;
use ombud_kits::hseg::anonymity::Filters;
use ombud_kits::hseg::generate::{Generator, Options};
use ombud_kits::hseg::intake::take_in;
use ombud_kits::hseg::keep::organization;
use ombud_kits::hseg::response::Response;
use ombud_kits::hseg::routes::{analytics, organizations};
use ombud_kits::hseg::training::{self, Plan};
use ombud_ops::Order;
use ombud_ops::perform::Ordered;
use ombud_store::Environment;
use ombud_store::job::State;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use tempfile::TempDir;

/// Respondents of each campaign.
const RESPONDENTS: u64 = 400;
/// The world of the demonstration, which no model has seen.
const WORLD: u64 = 4_000_037;

/// Show the kit at work: generate, train, deploy, load three organizations
///
/// Everything is made in a fresh folder: people, five models that pass their gates, three organizations with two campaigns
/// each. Then `ombud serve --folder DIR --port 8000 --open-demo` answers.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ombud kit hseg demo --folder hseg-demo
  ombud serve --folder hseg-demo --port 8000 --open-demo")]
pub struct DemoArguments {
    #[command(flatten)]
    pub settings: Settings,
    /// How many responses the models learn from
    ///
    /// At least 9,000: of fewer the models do not learn enough to pass their gates.
    #[arg(long, value_name = "N", default_value_t = 12_000, value_parser = clap::value_parser!(u64).range(9_000..))]
    pub records: u64,
    /// How many organizations the organization models learn from
    #[arg(long, value_name = "N")]
    pub organizations: Option<usize>,
    /// Which world the models learn from
    #[arg(long, value_name = "SEED", default_value_t = 7)]
    pub seed: u64,
}

/// Does what was asked.
pub fn run(arguments: &DemoArguments, console: &Console) -> Result<Outcome, Failure> {
    let (config, _) = arguments.settings.load()?;
    if config.storage.database.is_empty() && config.storage.folder.join("ombud.db").exists() {
        let message = format!("{} holds a house already", config.storage.folder.display());
        return Err(Failure::new(
            Class::Conflict,
            message,
            "name a fresh folder with --folder DIR",
        ));
    }
    let began = Instant::now();
    let made = train(arguments, console)?;
    console.print(&made.table)?;
    let runtime = runtime()?;
    let (house, first_key) = runtime.block_on(opened(&config))?;
    let shown = runtime.block_on(load(&house, &made.bundles, console));
    let ended = house.clone();
    runtime.block_on(async {
        ended.ops.drain_shadows().await;
        ended.store.close().await;
    });
    house.ledger.close();
    let (lines, id) = shown?;
    for line in lines {
        console.print(&line)?;
    }
    console.note(&format!(
        "all of it took {}",
        seconds(began.elapsed().as_secs_f64())
    ));
    console.print(&next(&config, &id, first_key.as_deref()))?;
    Ok(Outcome::Done)
}

/// What training made; its files are there as long as this is.
struct Made {
    bundles: Vec<PathBuf>,
    table: String,
    _folder: TempDir,
}

fn train(arguments: &DemoArguments, console: &Console) -> Result<Made, Failure> {
    let folder = tempfile::tempdir()
        .map_err(|error| Failure::file("made", Path::new("a folder for tables"), &error))?;
    let shown = Shown::new(console);
    let plan = Plan {
        records: arguments.records,
        seed: arguments.seed,
        organizations: arguments.organizations,
        out: &folder.path().join("models"),
        work: &folder.path().join("tables"),
        key: None,
    };
    let trainings = training::train(&plan, &shown);
    drop(shown);
    let trainings = progress::ended(trainings, Failure::from)?;
    let heading = console.shade(Shade::Strong, "Measured on a world that no model has seen");
    Ok(Made {
        bundles: trainings.models.iter().map(|it| it.path.clone()).collect(),
        table: format!("{heading}\n{}", quality_table(&trainings.quality, console)),
        _folder: folder,
    })
}

async fn opened(config: &Config) -> Result<(House, Option<String>), Failure> {
    let metrics = Arc::new(Metrics::new());
    let lane = open::server_lane(config)?;
    let rooms =
        open::rooms_with(config, lane, Some(Arc::clone(&metrics)), crate::kits::ALL).await?;
    let first = open::first_start(config, &rooms).await?;
    let house = open::house(config.clone(), rooms, metrics)?;
    Ok((house, first.map(|first| first.key.to_string())))
}

/// Deploys the models and loads the organizations; what to print, and an organization to look at.
async fn load(
    house: &House,
    bundles: &[PathBuf],
    console: &Console,
) -> Result<(Vec<String>, String), Failure> {
    let mut lines = vec![format!(
        "\n{}",
        console.shade(
            Shade::Strong,
            "Registered, and deployed through their gates"
        )
    )];
    for bundle in bundles {
        lines.push(deploy(house, bundle).await?);
    }
    house.ops.tick().await?;
    lines.push(format!(
        "\n{}",
        console.shade(Shade::Strong, "Three organizations, two campaigns each")
    ));
    let mut looked_at = String::new();
    // Of one domain, so that each has others to be compared with.
    for (place, name) in ["North Clinic", "Harbour Clinic", "Hillside Clinic"]
        .into_iter()
        .enumerate()
    {
        looked_at = organization_with_campaigns(house, place, name).await?;
        let id = looked_at
            .parse()
            .map_err(|_| Failure::invalid("an id cannot be read", "report this"))?;
        let view = analytics::view(&house.store, house.tenant(), id, Filters::new()).await;
        let view =
            view.map_err(|refusal| Failure::invalid(refusal.detail().to_owned(), "report this"))?;
        let scores: Vec<String> = view
            .trend
            .iter()
            .map(|moment| {
                moment
                    .overall_hseg_score
                    .map_or("not told".to_owned(), |score| score.to_string())
            })
            .collect();
        let tier = view
            .group
            .and_then(|group| group.overall_risk_tier)
            .unwrap_or_default();
        let expected = view
            .forecast
            .map_or(String::new(), |it| format!(", expected {}", it.tier));
        lines.push(format!(
            "{name}  {}  score {}  {tier}{expected}  {looked_at}",
            view.organization.domain,
            scores.join(" then ")
        ));
    }
    Ok((lines, looked_at))
}

async fn deploy(house: &House, bundle: &Path) -> Result<String, Failure> {
    let registered = register_bundle(&house.ops, &*house.depot, house.tenant(), bundle, None)
        .await?
        .into_registered();
    let ordered = Ordered {
        model: registered.model.clone(),
        environment: Environment::production(),
        order: Order::Deploy {
            version: registered.version,
        },
        reason: "the kit's demonstration".to_owned(),
        force: None,
    };
    let made = house
        .ops
        .change(house.tenant(), &settings::caller(), ordered)
        .await?;
    Ok(format!(
        "{}  {}  {}",
        made.model, registered.label, made.traffic
    ))
}

async fn organization_with_campaigns(
    house: &House,
    place: usize,
    name: &str,
) -> Result<String, Failure> {
    let told =
        |refusal: ombud_api::Refusal| Failure::invalid(refusal.detail().to_owned(), "report this");
    let generator = Generator::new(Options {
        seed: WORLD,
        ..Options::default()
    });
    let of_domain = generator.world().organizations.iter().enumerate();
    let clinics =
        of_domain.filter(|(_, it)| it.domain == ombud_kits::hseg::survey::Domain::Healthcare);
    let found = clinics.map(|(at, it)| (at, it.employees)).nth(place);
    let (at, employees) =
        found.ok_or_else(|| Failure::invalid("the world has too few clinics", "report this"))?;
    let wish = serde_json::json!({ "name": name, "domain": "Healthcare", "country": "IE", "employees": employees });
    let wish = serde_json::from_value(wish)
        .map_err(|error| Failure::invalid(error.to_string(), "report this"))?;
    let organization = organizations::read(wish).map_err(told)?;
    organization::add(&house.store, house.tenant(), &organization).await?;
    for (number, campaign) in ["Spring", "Autumn"].into_iter().enumerate() {
        let first = (place * 2 + number) as u64 * RESPONDENTS;
        let responses = (first..first + RESPONDENTS).map(|index| response(&generator, at, index));
        let principal = settings::principal();
        let taken = take_in(
            house,
            house.tenant(),
            &principal,
            organization.id,
            campaign,
            responses.collect(),
        );
        let taken = taken.await.map_err(told)?;
        ombud_api::kit::work_off(house).await?;
        let job = house.store.job(house.tenant(), taken.job).await?;
        if job.state != State::Succeeded {
            let message = format!(
                "{} responses of {name} were not processed: {}",
                count(taken.responses as u64),
                job.message
            );
            return Err(Failure::invalid(
                message,
                "look at the message; `ombud kit hseg demo` needs a fresh folder to be tried again",
            ));
        }
    }
    Ok(organization.id.to_string())
}

fn response(generator: &Generator, organization: usize, index: u64) -> Response {
    let record = generator.record_in(organization, index).record;
    Response {
        domain: record.domain,
        ratings: record.ratings,
        texts: record.texts,
        demographics: record.demographics,
        quality: record.quality,
    }
}

fn next(config: &Config, organization: &str, key: Option<&str>) -> String {
    let folder = config.storage.folder.display();
    let key = key.unwrap_or("$OMBUD_KEY");
    format!(
        "\nServe it, open on this machine alone:\n  ombud serve --folder {folder} --port 8000 --open-demo\n\n\
         Three calls:\n  \
         curl -X POST http://localhost:8000/predict/individual -H 'Content-Type: application/json' \\\n    \
         -d '{{\"domain\": \"Business\", \"survey_responses\": {{\"q1\": 2.5, \"q2\": 3.0, \"q14\": 2.0, \"q22\": 2.5}}, \
         \"text_responses\": {{\"q24\": \"I am not afraid to speak up, but nothing changes\"}}, \
         \"demographics\": {{\"age_range\": \"25-34\", \"gender_identity\": \"Woman\", \"position_level\": \"Mid\"}}}}'\n  \
         curl http://localhost:8000/analytics/dashboard/{organization}\n  \
         curl http://localhost:8000/organizations/{organization}/risk-profile\n\n\
         Without --open-demo, add -H 'Authorization: Bearer {key}' to the first (a caller's key, shown this once), and to the other\n  \
         two an operator's key: ombud keys new --folder {folder} --label desk --role operator\n\n\
         A report:\n  ombud kit hseg report --folder {folder} --org \"North Clinic\" --out report.html"
    )
}
