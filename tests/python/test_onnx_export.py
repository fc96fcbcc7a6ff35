"""Models of every kind of ours as ONNX files, answered by onnxruntime, on the rows that our own answers are for."""

import json
import os
import pathlib
import subprocess

import numpy as np
import onnx
import onnxruntime
import onnx_cases
import pandas as pd
import pytest
import xgboost
from conftest import ROOT, ombud

TOLERANCE = 1e-5
# The writer's own list of cases is in crates/learn/examples/export_cases.
CASES_MIN = 27


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    subprocess.run([os.environ["OMBUD_EXPORT_CASES"], folder], check=True)
    return folder


def tensors(session, rows):
    """One tensor an input: an empty text or NaN where a feature is missing."""
    inputs = {}
    for info in session.get_inputs():
        cells = [row.get(info.name) for row in rows]
        if info.type == "tensor(string)":
            inputs[info.name] = np.array([[cell or ""] for cell in cells], dtype=object)
        else:
            blank = [np.nan] * info.shape[1]
            table = [blank if cell is None else cell if isinstance(cell, list) else [cell] for cell in cells]
            inputs[info.name] = np.array(table, dtype=np.float64)
    return inputs


def session_of(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def check_small_batches(session, inputs, found):
    """One row alone answers as it does among others, and a row of nothing is answered at all."""
    alone = session.run(None, {key: values[:1] for key, values in inputs.items()})
    for one, all_rows in zip(alone, found.values()):
        if one.dtype.kind == "f":
            assert np.allclose(one, all_rows[:1], atol=1e-6)
    blank = {key: np.full_like(values[:1], "" if values.dtype == object else np.nan) for key, values in inputs.items()}
    session.run(None, blank)


def check(path):
    proto = onnx.load(path)
    if "com.microsoft" not in str(proto.opset_import):
        onnx.checker.check_model(proto)
    session = session_of(path)
    inputs = tensors(session, lines(path.with_suffix(".rows.jsonl")))
    answers = lines(path.with_suffix(".answers.jsonl"))
    found = dict(zip([info.name for info in session.get_outputs()], session.run(None, inputs)))
    scores = next(found[name] for name in ("probabilities", "memberships", "value") if name in found)
    wanted = np.array([answer["scores"] for answer in answers])
    assert (np.abs(wanted - scores) / np.maximum(1, np.abs(wanted))).max() <= TOLERANCE
    for key in {"label", "labels"} & found.keys():
        assert (np.array([answer[key] for answer in answers]) == found[key]).all()
    check_small_batches(session, inputs, found)
    check_read_back(path, inputs, found)


def check_read_back(path, inputs, wanted):
    """Our own evaluator reads what we wrote."""
    found = onnx_cases.ours(os.environ["OMBUD_RUN_ONNX"], path.read_bytes(), inputs, path.parent)
    share, worst = onnx_cases.compare(wanted, found)
    assert share in (None, 1.0) and worst <= TOLERANCE, (share, worst)


def test_every_kind_of_model_answers_in_onnxruntime_as_here(folder):
    paths = sorted(folder.glob("*.onnx"))
    assert len(paths) >= CASES_MIN
    for path in paths:
        check(path)


# Each of a kind: a forest with text, calibrated; a number; text alone; several labels; segments.
EXAMPLES = ["claims", "days_to_close", "notes", "segments"]


@pytest.mark.parametrize("example", EXAMPLES)
def test_a_trained_bundle_answers_in_onnxruntime_as_here(example, trained, tmp_path):
    bundle = pathlib.Path(trained(example)["bundle"])
    out = tmp_path / "model.onnx"
    told = json.loads(ombud("export", bundle, "--to", "onnx", "--out", out, "--json").stdout)
    session = session_of(out)
    assert told["inputs"] == [info.name for info in session.get_inputs()]
    data = ROOT / "examples" / example / "data.csv"
    features = json.loads((bundle / "manifest.json").read_text())["schema"]["features"]
    found = dict(zip([info.name for info in session.get_outputs()], session.run(None, cells(features, data))))
    ours = tmp_path / "answers.parquet"
    ombud("predict", bundle, "--data", data, "--out", ours)
    ours = pd.read_parquet(ours)
    if "value" in found:
        numbers = ours["prediction"].to_numpy(float)
        assert (np.abs(numbers - found["value"][:, 0]) / np.maximum(1, np.abs(numbers))).max() <= TOLERANCE
        return
    if "memberships" in found:
        assert (ours["segment_name"].to_numpy(str) == found["label"].astype(str)).all()
        assert np.abs(ours["confidence"] - found["memberships"].max(axis=1)).max() <= TOLERANCE
        return
    assert (ours["prediction"].to_numpy(str) == found["label"].astype(str)).all()
    shares = ours[[column for column in ours if column.startswith("p_")]].to_numpy(float)
    assert np.abs(shares - found["probabilities"]).max() <= TOLERANCE


def cells(features, data):
    """The columns of a file as the graph's inputs."""
    table = pd.read_csv(data, keep_default_na=False, dtype=str)
    inputs = {}
    for feature in features:
        column = table[feature["name"]].to_numpy(object).reshape(-1, 1)
        if feature["type"] == "number":
            column = pd.to_numeric(column[:, 0], errors="coerce").astype(np.float64).reshape(-1, 1)
        inputs[feature["name"]] = column
    return inputs


def test_trees_leave_as_a_model_of_xgboost(trained, tmp_path):
    bundle = pathlib.Path(trained("days_to_close")["bundle"])
    data = ROOT / "examples/days_to_close/data.csv"
    out = tmp_path / "model.json"
    ombud("export", bundle, "--to", "xgboost", "--out", out)
    features = json.loads((bundle / "manifest.json").read_text())["schema"]["features"]
    columns = []
    for feature, values in zip(features, cells(features, data).values()):
        codes = {value: code for code, value in enumerate(feature.get("values") or feature.get("levels") or [])}
        columns.append([codes.get(x, np.nan) for x in values[:, 0]] if codes else values[:, 0].astype(float))
    names = [feature["name"] for feature in features]
    kinds = ["c" if feature["type"] == "category" else "float" for feature in features]
    columns = pd.DataFrame(dict(zip(names, columns)))
    rows = xgboost.DMatrix(columns, feature_types=kinds, enable_categorical=True)
    ours = tmp_path / "answers.parquet"
    ombud("predict", bundle, "--data", data, "--out", ours)
    answered = pd.read_parquet(ours)["prediction"].to_numpy(float)
    booster = xgboost.Booster(model_file=out)
    assert (booster.feature_names, booster.feature_types) == (names, kinds)
    assert np.allclose(booster.predict(rows), answered, rtol=1e-6)
    swapped = xgboost.DMatrix(columns[names[::-1]], feature_types=kinds[::-1], enable_categorical=True)
    with pytest.raises(ValueError, match="feature_names mismatch"):
        booster.predict(swapped)
    # And here they are known again.
    ombud("import", "xgboost", out, "--name", "again", "--out", tmp_path / "models")
    again = json.loads((tmp_path / "models/again/latest/manifest.json").read_text())
    assert [feature["name"] for feature in again["schema"]["features"]] == names
