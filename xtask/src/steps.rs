//! Steps: named pieces of work that run in order, each with a heading and a duration.
//!
//! A step that fails does not keep the others from running, so that one CI run shows everything there
//! is to mend; the table at the end says which failed and how to run that one alone. What a step does is
//! a plain function in the file of its subject.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::house::House;

/// A piece of work with a name to call it by.
#[derive(Clone, Copy)]
pub struct Step {
    pub name: &'static str,
    pub about: &'static str,
    pub run: fn(&House) -> Result<Outcome>,
}

/// How a step ended when nothing was wrong.
pub enum Outcome {
    Passed,
    /// Passed, with something a reader should know.
    Noted(String),
}

/// Which of a command's steps a person asked for.
#[derive(Default)]
pub struct Selection {
    pub only: Vec<String>,
    pub skip: Vec<String>,
    pub list: bool,
}

struct Line {
    step: Step,
    result: Result<Outcome>,
    took: Duration,
}

/// Runs the selected steps of `command` and prints a table of how they ended.
pub fn run(
    command: &str,
    steps: &[Step],
    selection: &Selection,
    house: &House,
) -> Result<ExitCode> {
    if selection.list {
        steps
            .iter()
            .for_each(|step| println!("{:<12} {}", step.name, step.about));
        return Ok(ExitCode::SUCCESS);
    }
    let chosen = choose(steps, selection)?;
    let mut lines = Vec::with_capacity(chosen.len());
    for (index, step) in chosen.iter().enumerate() {
        println!(
            "\n── {}/{} {} · {}",
            index + 1,
            chosen.len(),
            step.name,
            step.about
        );
        let started = Instant::now();
        let result = (step.run)(house);
        if let Err(error) = &result {
            println!("error: {error:#}");
        }
        lines.push(Line {
            step: *step,
            result,
            took: started.elapsed(),
        });
    }
    Ok(summarize(command, &lines))
}

/// A duration as a person says it.
pub fn plain(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 60.0 {
        return format!("{seconds:.1} s");
    }
    format!(
        "{} min {:02} s",
        duration.as_secs() / 60,
        duration.as_secs() % 60
    )
}

fn choose(steps: &[Step], selection: &Selection) -> Result<Vec<Step>> {
    let named = |name: &String| steps.iter().any(|step| step.name == name);
    if let Some(stranger) = selection
        .only
        .iter()
        .chain(&selection.skip)
        .find(|name| !named(name))
    {
        let names: Vec<_> = steps.iter().map(|step| step.name).collect();
        bail!(
            "there is no step `{stranger}`; the steps are {}",
            names.join(", ")
        );
    }
    let listed = |names: &[String], step: &Step| names.iter().any(|name| name == step.name);
    let wanted = |step: &&Step| {
        (selection.only.is_empty() || listed(&selection.only, step))
            && !listed(&selection.skip, step)
    };
    Ok(steps.iter().filter(wanted).copied().collect())
}

fn summarize(command: &str, lines: &[Line]) -> ExitCode {
    println!("\n── cargo xtask {command}");
    for line in lines {
        let (sign, note) = match &line.result {
            Ok(Outcome::Passed) => ("ok", String::new()),
            Ok(Outcome::Noted(note)) => ("note", note.clone()),
            Err(error) => ("FAILED", first_line(&format!("{error:#}"))),
        };
        println!(
            "{sign:<7} {:<12} {:>12}  {note}",
            line.step.name,
            plain(line.took)
        );
    }
    let total: Duration = lines.iter().map(|line| line.took).sum();
    let failed: Vec<_> = lines.iter().filter(|line| line.result.is_err()).collect();
    if failed.is_empty() {
        println!("all {} steps passed in {}", lines.len(), plain(total));
        return ExitCode::SUCCESS;
    }
    println!(
        "{} of {} steps failed in {}",
        failed.len(),
        lines.len(),
        plain(total)
    );
    for line in failed {
        println!(
            "hint: run it alone with `cargo xtask {command} --only {}`",
            line.step.name
        );
    }
    ExitCode::FAILURE
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: [Step; 3] = [step("format"), step("lints"), step("docs")];

    const fn step(name: &'static str) -> Step {
        Step {
            name,
            about: "",
            run: |_| Ok(Outcome::Passed),
        }
    }

    fn chosen(only: &[&str], skip: &[&str]) -> Result<Vec<&'static str>> {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let selection = Selection {
            only: owned(only),
            skip: owned(skip),
            list: false,
        };
        Ok(choose(&STEPS, &selection)?
            .iter()
            .map(|step| step.name)
            .collect())
    }

    #[test]
    fn without_a_wish_every_step_runs_in_order() {
        assert_eq!(chosen(&[], &[]).unwrap(), ["format", "lints", "docs"]);
    }

    #[test]
    fn a_step_can_run_alone_or_be_left_out() {
        assert_eq!(chosen(&["docs"], &[]).unwrap(), ["docs"]);
        assert_eq!(chosen(&[], &["docs"]).unwrap(), ["format", "lints"]);
    }

    #[test]
    fn an_unknown_step_is_refused_with_the_names_there_are() {
        let message = chosen(&["clipy"], &[]).unwrap_err().to_string();
        assert_eq!(
            message,
            "there is no step `clipy`; the steps are format, lints, docs"
        );
    }

    #[test]
    fn minutes_are_told_apart_from_seconds() {
        assert_eq!(plain(Duration::from_millis(1_540)), "1.5 s");
        assert_eq!(plain(Duration::from_secs(125)), "2 min 05 s");
    }
}
