"""ONNX files of real estimators, imported and asked by the real binary, beside the estimators themselves, on whole tables."""

import json

import numpy as np
import onnx_cases
import pandas as pd
import pytest
from conftest import ombud
from foreign import answers, imported, record

pytestmark = pytest.mark.filterwarnings("ignore")
TOLERANCE = 1e-5
# Converted, but not runnable by anyone: see test_onnx_runs.py.
NOT_CONVERTED = {"RadiusNeighborsRegressor"}
# Two numbers a row: told apart when it is imported.
REFUSED = {"MultiOutputRegressor"}
# Estimators whose own `predict` is not the class of their highest `predict_proba`; the answer is the latter.
OF_TWO_MINDS = {"SVC (rbf, probabilities)", "SVC (poly, probabilities, 2 classes)"}
CASES = {case[0]: case for case in onnx_cases.cases() if case[0] not in NOT_CONVERTED}


@pytest.fixture(scope="module")
def data():
    return onnx_cases.tables() | {"mixed": None, "texts": None}


def table(inputs):
    """Columns as the graph names them: one of its own name, or f0, f1, …"""
    columns = {}
    for name, values in inputs.items():
        if values.shape[1] == 1:
            columns[name] = values[:, 0]
        else:
            columns |= {f"f{place}": values[:, place].astype(np.float64) for place in range(values.shape[1])}
    return pd.DataFrame(columns)


def far(found, *wanted):
    """The greatest difference to the nearest of what is wanted, relative beyond one."""
    differences = [np.abs(found - one) / np.maximum(1, np.abs(one)) for one in wanted]
    return float(np.minimum.reduce(differences).max(initial=0))


def labels_of(outputs):
    return next((v.reshape(-1) for v in outputs.values() if v.dtype.kind not in "fc"), None)


def scores_of(outputs):
    return next((v for v in outputs.values() if v.dtype.kind == "f"), None)


@pytest.mark.parametrize("name", CASES)
def test_an_estimator_answers_here_as_it_does_itself(name, data, tmp_path):
    case = CASES[name]
    proto, inputs = onnx_cases.convert(case, data, tmp_path)
    path = tmp_path / "model.onnx"
    path.write_bytes(proto)
    if name in REFUSED:
        refused = ombud("import", "sklearn", path, "--name", "m", "--out", tmp_path / "models", check=False)
        assert refused.returncode == 2 and "numbers a row" in refused.stderr
        return
    there = onnx_cases.expected(proto, inputs)
    model, rows = case[2], next(iter(inputs.values()))
    found = answers(imported("sklearn", path, tmp_path), table(inputs), tmp_path)
    if "p_" not in "".join(found.columns) and "segment" not in found:
        check_numbers(name, model, rows, found, there)
    else:
        check_classes(name, model, rows, found, there)


def check_numbers(name, model, rows, found, there):
    found = found["prediction"].to_numpy(float)
    there = scores_of(there).reshape(-1).astype(float)
    own = np.asarray(model.predict(rows.astype(np.float64)), dtype=float).reshape(-1)
    record(name, len(rows), None, far(found, own, there))
    assert far(found, own, there) <= TOLERANCE


def check_classes(name, model, rows, found, there):
    told = found["segment" if "segment" in found else "prediction"].astype(str).to_numpy()
    label = labels_of(there).astype(str)
    shares = found[[column for column in found if column.startswith("p_")]].to_numpy(float)
    equal = (told == label).mean()
    if model is None:
        record(name, len(told), equal, far(shares, scores_of(there)))
        assert equal == 1 and far(shares, scores_of(there)) <= TOLERANCE
        return
    own = np.asarray(model.predict(rows)).reshape(-1).astype(str)
    if name in OF_TWO_MINDS:
        shares_there = model.predict_proba(rows)
        own = model.classes_[shares_there.argmax(1)].astype(str)
        top = np.sort(shares_there, axis=1)
        own = np.where(top[:, -1] - top[:, -2] <= TOLERANCE, told, own)
    if not hasattr(model, "predict_proba") or "segment" in found:
        record(name, len(told), max(equal, (told == own).mean()), None)
        assert (told == own).all() or equal == 1, np.flatnonzero(told != own)
        return
    wanted = model.predict_proba(rows.astype(np.float64))
    there = scores_of(there).reshape(wanted.shape)
    record(name, len(told), max(equal, (told == own).mean()), far(shares, wanted, there))
    assert (told == own).all() or equal == 1, [(row, wanted[row], shares[row]) for row in np.flatnonzero(told != own)]
    # Where single precision carries onnxruntime itself away, ours may be no further from the estimator.
    assert far(shares, wanted, there) <= TOLERANCE or far(shares, wanted) <= far(there, wanted)


def test_a_pickle_is_refused_with_the_way_to_convert_it(tmp_path):
    import pickle

    from sklearn.linear_model import LogisticRegression

    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(LogisticRegression()))
    refused = ombud("import", "sklearn", path, "--name", "m", "--out", tmp_path / "models", check=False)
    assert refused.returncode == 2 and "skl2onnx.to_onnx" in refused.stderr
    assert not (tmp_path / "models").exists()


def test_a_schema_names_features_and_classes_and_the_truth(data, tmp_path):
    case = CASES["LogisticRegression (3 classes)"]
    proto, inputs = onnx_cases.convert(case, data, tmp_path)
    path, schema = tmp_path / "model.onnx", tmp_path / "schema.toml"
    path.write_bytes(proto)
    schema.write_text(
        '[data]\ntarget = "kind"\nlevels = ["setosa", "versicolor", "virginica"]\n[features]\n'
        'sepal_length = "number"\nsepal_width = "number"\npetal_length = "number"\npetal_width = { type = "number", min = 0 }\n'
    )
    bundle = imported("sklearn", path, tmp_path, "--schema", schema)
    names = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
    rows = pd.DataFrame(next(iter(inputs.values())), columns=names)
    own = case[2].predict(rows.to_numpy())
    rows["kind"] = np.array(["setosa", "versicolor", "virginica"])[data["iris"][1]]
    rows.to_csv(tmp_path / "rows.csv", index=False)
    said = json.loads(ombud("evaluate", bundle, "--data", tmp_path / "rows.csv", "--json").stdout)
    assert said["metrics"]["accuracy"] == pytest.approx((own == data["iris"][1]).mean())


def test_a_cell_that_the_model_cannot_do_without_gets_no_answer(data, tmp_path):
    proto, inputs = onnx_cases.convert(CASES["LogisticRegression (3 classes)"], data, tmp_path)
    (tmp_path / "model.onnx").write_bytes(proto)
    bundle = imported("sklearn", tmp_path / "model.onnx", tmp_path)
    features = json.loads((bundle / "manifest.json").read_text())["schema"]["features"]
    assert {feature["missing"] for feature in features} == {"refused"}
    rows = table(inputs)
    rows.loc[3, "f1"] = np.nan
    found = answers(bundle, rows, tmp_path)
    assert found["prediction"].isna().tolist() == [row == 3 for row in range(len(rows))]
