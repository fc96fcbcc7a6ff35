//! `cargo xtask demo`: from shipped data to a server that answers with reasons, in front of a person's eyes.
//!
//! For each recipe under `examples/` it trains, tells what the training measured, and predicts the rows
//! of `new.csv`, which nobody has an answer for. Then every model is deployed in a fresh folder and served until
//! Ctrl-C. It uses the command `ombud` as anyone would and stops at the first thing that goes wrong.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::bench::serve::call;
use crate::command;
use crate::house::House;
use crate::steps::plain;

/// How long a server may take to take up a deployment; it looks each second.
const PATIENCE: Duration = Duration::from_secs(20);

pub fn run(house: &House, serves: bool) -> Result<ExitCode> {
    let started = Instant::now();
    println!("── building ombud");
    let ombud = house.ombud()?;
    let mut bundles = Vec::new();
    for example in examples(house)? {
        let name = example
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        println!("\n── {name}: train");
        let bundle = train(house, &ombud, &example, &name)?;
        println!("\n── {name}: predict rows that nobody has an answer for");
        predict(house, &ombud, &example, &bundle)?;
        bundles.push(bundle);
    }
    farewell(house, &ombud, bundles.first());
    println!("the demo took {}", plain(started.elapsed()));
    if serves {
        return serve(house, &ombud, &bundles);
    }
    Ok(ExitCode::SUCCESS)
}

/// Serves the models until Ctrl-C, in a folder made anew each time, so that its first sign-in is shown.
fn serve(house: &House, ombud: &Path, bundles: &[PathBuf]) -> Result<ExitCode> {
    let folder = house.target.join("demo/server");
    if folder.exists() {
        fs::remove_dir_all(&folder).context("the last demo's server cannot be removed")?;
    }
    let mut serve = Command::new(ombud);
    serve
        .current_dir(&house.root)
        .args(["serve", "--json", "--folder"]);
    serve.arg(house.typed(&folder)).stdout(Stdio::piped());
    println!("\n── serve\n$ {}", command::spelled(&serve));
    let mut server = serve.spawn().context("the server cannot be started")?;
    let mut line = String::new();
    let out = server.stdout.take().context("no pipe")?;
    BufReader::new(out).read_line(&mut line)?;
    let told: Value = serde_json::from_str(&line).context("the server did not say where it is")?;
    let deployed = deploy_all(house, ombud, bundles, &folder)
        .and_then(|()| wait_until_served(&told, bundles.len()));
    if let Err(error) = deployed {
        server.kill()?;
        return Err(error);
    }
    greet(&told, bundles)?;
    let ended = server.wait()?;
    Ok(if ended.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// A running server takes each up within two seconds.
fn deploy_all(house: &House, ombud: &Path, bundles: &[PathBuf], folder: &Path) -> Result<()> {
    for bundle in bundles {
        let manifest = manifest(bundle)?;
        let name = manifest["name"]
            .as_str()
            .context("a manifest names its model")?;
        let mut deploy = Command::new(ombud);
        deploy.current_dir(&house.root).args(["deploy", name]);
        deploy
            .arg(house.typed(bundle))
            .arg("--folder")
            .arg(house.typed(folder));
        command::run(deploy.args(["--reason", "the demo"]))?;
    }
    Ok(())
}

/// The call that is printed must work at once.
fn wait_until_served(told: &Value, models: usize) -> Result<()> {
    let address = told["address"].as_str().context("no address")?;
    let key = told["first_start"]["key"].as_str();
    let began = Instant::now();
    loop {
        let (_, body) = call(address, "GET", "/api/v1/ml/models", key, "")?;
        let listed: Value = serde_json::from_str(&body).unwrap_or_default();
        if listed["models"].as_array().map_or(0, Vec::len) >= models {
            return Ok(());
        }
        if began.elapsed() > PATIENCE {
            bail!("the server does not take up what was deployed: {body}");
        }
        thread::sleep(Duration::from_millis(50));
    }
}

fn manifest(bundle: &Path) -> Result<Value> {
    let text = fs::read_to_string(bundle.join("manifest.json"))?;
    serde_json::from_str(&text).context("a manifest is JSON")
}

/// Where to look, how to sign in, and a call that works.
fn greet(told: &Value, bundles: &[PathBuf]) -> Result<()> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (url, first) = (text(&told["url"]), &told["first_start"]);
    println!("\n── Ombud serves at {url} until Ctrl-C");
    println!("  reference  {url}/docs/");
    println!(
        "  sign in    {} with {}",
        text(&first["login"]),
        text(&first["password"])
    );
    let Some(bundle) = bundles.first() else {
        return Ok(());
    };
    let manifest = manifest(bundle)?;
    let name = text(&manifest["name"]);
    let body =
        serde_json::json!({ "input": asked(&manifest), "subject": "M-4711", "explain": true });
    println!("\nTry it:");
    println!(
        "  curl -H 'Authorization: Bearer {}' \\",
        text(&first["key"])
    );
    println!("    -H 'Content-Type: application/json' -d '{body}' \\");
    println!("    {url}/api/v1/models/{name}/decide");
    Ok(())
}

/// An input that the model takes: its numbers and the first value of its categories.
fn asked(manifest: &Value) -> Value {
    let features = manifest["schema"]["features"]
        .as_array()
        .into_iter()
        .flatten();
    let pair = |feature: &Value| {
        let value = match feature["type"].as_str()? {
            "number" => Value::from(3),
            "category" => feature["values"][0].clone(),
            "ordinal" => feature["levels"][0].clone(),
            _ => return None,
        };
        Some((feature["name"].as_str()?.to_owned(), value))
    };
    features
        .filter_map(pair)
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// The example folders that have a recipe, by name, relative to the root.
fn examples(house: &House) -> Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(house.root.join("examples")).context("there is no folder examples")? {
        let folder = Path::new("examples").join(entry?.file_name());
        if house.root.join(&folder).join("recipe.toml").is_file() {
            folders.push(folder);
        }
    }
    folders.sort();
    Ok(folders)
}

fn train(house: &House, ombud: &Path, example: &Path, name: &str) -> Result<PathBuf> {
    let out = house.target.join("demo").join(name);
    if out.exists() {
        fs::remove_dir_all(&out).context("the last demo cannot be removed")?;
    }
    let mut train = Command::new(ombud);
    train
        .current_dir(&house.root)
        .arg("train")
        .arg(example.join("recipe.toml"));
    train.arg("--out").arg(house.typed(&out)).arg("--json");
    println!("$ {}", command::spelled(&train));
    let report = command::capture(&mut train)?;
    let report: Value = serde_json::from_str(&report).context("train --json printed no JSON")?;
    tell(&report);
    let bundle = report["bundle"]
        .as_str()
        .context("train --json names no bundle")?;
    Ok(house.root.join(bundle))
}

/// What the training measured, in plain lines.
fn tell(report: &Value) {
    for (name, value) in report["metrics"].as_object().into_iter().flatten() {
        if let Some(number) = value.as_f64() {
            println!("  {name:<24} {number:>10.4}");
        }
    }
    for gate in report["gates"].as_array().into_iter().flatten() {
        let verdict = if gate["passed"] == true {
            "passed"
        } else {
            "FAILED"
        };
        let name = gate["name"].as_str().unwrap_or("?");
        println!(
            "  gate {name:<19} {verdict:>10}  {} against {}",
            gate["measured"], gate["limit"]
        );
    }
    for warning in report["warnings"].as_array().into_iter().flatten() {
        let text = warning
            .as_str()
            .map_or_else(|| warning.to_string(), str::to_owned);
        println!("  warning: {text}");
    }
}

fn predict(house: &House, ombud: &Path, example: &Path, bundle: &Path) -> Result<()> {
    let mut predict = Command::new(ombud);
    predict
        .current_dir(&house.root)
        .arg("predict")
        .arg(house.typed(bundle));
    predict
        .arg("--data")
        .arg(example.join("new.csv"))
        .arg("--explain");
    command::run(&mut predict)
}

fn farewell(house: &House, ombud: &Path, bundle: Option<&PathBuf>) {
    let Some(bundle) = bundle else {
        println!("there is no examples/*/recipe.toml to train");
        return;
    };
    let bundle = house.typed(bundle).display();
    println!("\n── what next (ombud is {})", house.typed(ombud).display());
    println!("  read the model card        {bundle}/card.md");
    println!("  look into a bundle         ombud inspect {bundle}");
    println!(
        "  begin with your own data   ombud recipe new people.csv --target COLUMN > recipe.toml"
    );
    println!("  train on it                ombud train recipe.toml");
}
