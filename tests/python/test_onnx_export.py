"""Models of every kind of ours as ONNX files, answered by onnxruntime, on the rows that our own answers are for."""

import json
import os
import subprocess

import numpy as np
import onnx
import onnxruntime
import onnx_cases
import pytest

TOLERANCE = 1e-5
# The writer's own list of cases is in crates/learn/examples/export_cases.
CASES_MIN = 26


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
