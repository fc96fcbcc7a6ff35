"""What a training leaves behind, read by the tools of other people."""

import io
import json
import pathlib
import subprocess
import sys

import numpy
import pandas
import pytest
import xgboost
from conftest import ROOT, ombud
from sklearn import metrics


def predictions(bundle, data, *options):
    done = ombud("predict", bundle, "--data", data, *options)
    return pandas.read_csv(io.StringIO(done.stdout), keep_default_na=False)


def test_the_public_signing_tool_accepts_our_signature_and_sees_a_change(trained, keys, tmp_path):
    bundle = pathlib.Path(trained("segments")["bundle"])
    tool = [sys.executable, "-m", "model_signing", "verify", "key", bundle]
    tool += ["--signature", bundle / "model.sig", "--public_key", keys[1]]
    assert subprocess.run(tool).returncode == 0
    card = bundle / "card.md"
    text = card.read_bytes()
    try:
        card.write_bytes(text + b" ")
        assert subprocess.run(tool).returncode != 0
        refused = ombud("verify", bundle, "--key", keys[1], check=False)
        assert refused.returncode == 2 and "card.md" in refused.stderr
    finally:
        card.write_bytes(text)


def test_the_metrics_are_those_of_scikit_learn(trained):
    bundle = trained("claims")["bundle"]
    data = ROOT / "examples/claims/data.csv"
    said = json.loads(ombud("evaluate", bundle, "--data", data, "--json").stdout)["metrics"]
    truth = pandas.read_csv(data)["outcome"]
    answers = predictions(bundle, data)
    names = [column[2:] for column in answers if column.startswith("p_")]
    scores = answers[[f"p_{name}" for name in names]].to_numpy(float)
    expected = {
        "accuracy": metrics.accuracy_score(truth, answers["prediction"]),
        "balanced_accuracy": metrics.balanced_accuracy_score(truth, answers["prediction"]),
        "macro_f1": metrics.f1_score(truth, answers["prediction"], average="macro"),
        "log_loss": metrics.log_loss(truth, scores, labels=names),
        "roc_auc": metrics.roc_auc_score(truth, scores, labels=names, multi_class="ovr"),
    }
    for name, value in expected.items():
        assert said[name] == pytest.approx(value, abs=1e-9), name
    assert numpy.allclose(answers["confidence"].astype(float), scores.max(axis=1))


def test_a_numbers_errors_are_those_of_scikit_learn_and_its_intervals_hold_the_truth(trained):
    bundle = trained("days_to_close")["bundle"]
    data = ROOT / "examples/days_to_close/data.csv"
    target = json.loads((pathlib.Path(bundle) / "manifest.json").read_text())["schema"]["columns"]["target"]
    said = json.loads(ombud("evaluate", bundle, "--data", data, "--json").stdout)["metrics"]
    truth = pandas.read_csv(data)[target].to_numpy(float)
    answers = predictions(bundle, data)
    answered = answers["prediction"].to_numpy(float)
    assert said["mae"] == pytest.approx(metrics.mean_absolute_error(truth, answered))
    assert said["rmse"] == pytest.approx(metrics.root_mean_squared_error(truth, answered))
    assert said["r2"] == pytest.approx(metrics.r2_score(truth, answered))
    inside = (answers["lower"].astype(float) <= truth) & (truth <= answers["upper"].astype(float))
    assert said["interval_coverage"] == pytest.approx(inside.mean())
    assert inside.mean() > 0.85


def test_a_stored_forest_is_a_model_of_xgboost(trained):
    bundle = pathlib.Path(trained("days_to_close")["bundle"])
    booster = xgboost.Booster(model_file=bundle / "model.ubj")
    schema = json.loads((bundle / "manifest.json").read_text())["schema"]["features"]
    data = pandas.read_csv(ROOT / "examples/days_to_close/data.csv", keep_default_na=False, dtype=str)
    columns = []
    for feature in schema:
        cells = data[feature["name"]]
        if feature["type"] == "number":
            columns.append(pandas.to_numeric(cells, errors="coerce").to_numpy(float))
        else:
            codes = {value: code for code, value in enumerate(feature.get("values") or feature.get("levels"))}
            columns.append(cells.map(codes).to_numpy(float))
    kinds = ["c" if feature["type"] == "category" else "q" for feature in schema]
    rows = xgboost.DMatrix(numpy.column_stack(columns), feature_types=kinds, enable_categorical=True)
    answered = predictions(bundle, ROOT / "examples/days_to_close/data.csv")["prediction"].to_numpy(float)
    assert numpy.allclose(booster.predict(rows), answered, rtol=1e-6)


def test_parquet_and_lines_of_json_say_what_csv_says(trained, tmp_path):
    bundle = trained("notes")["bundle"]
    data = ROOT / "examples/notes/new.csv"
    csv = predictions(bundle, data)
    parquet = tmp_path / "answers.parquet"
    ombud("predict", bundle, "--data", data, "--out", parquet)
    lines = ombud("predict", bundle, "--data", data, "--format", "jsonl").stdout.splitlines()
    for other in (pandas.read_parquet(parquet), pandas.DataFrame(map(json.loads, lines))):
        assert list(other["prediction"]) == list(csv["prediction"])
        assert numpy.allclose(other["confidence"].astype(float), csv["confidence"].astype(float))


def test_the_same_seed_gives_the_same_weights_for_any_number_of_threads(trained):
    def digests(made):
        files = json.loads((pathlib.Path(made["bundle"]) / "manifest.json").read_text())["files"]
        return {name: entry["sha256"] for name, entry in files.items() if name.startswith(("model", "text", "stage"))}

    once = digests(trained("claims"))
    assert once == digests(trained("claims", "--set", "train.threads=1"))
