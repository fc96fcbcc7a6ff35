"""Repositories of Triton and MLServer, as their own tools lay them out: what can be read comes in, the rest is named."""

import json

import numpy as np
import pandas as pd
import pytest
import xgboost
from conftest import ombud
from foreign import answers
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression

pytestmark = pytest.mark.filterwarnings("ignore")
NAMES = ["a", "b", "c"]


@pytest.fixture(scope="module")
def table():
    random = np.random.default_rng(7)
    features = pd.DataFrame(random.normal(size=(400, 3)).astype(np.float32), columns=NAMES)
    return features, (features["a"] + features["b"] ** 2 > 1).astype(int)


def booster(features, target, rounds):
    data = xgboost.DMatrix(features, target)
    return xgboost.train({"objective": "binary:logistic", "max_depth": 3, "seed": 7}, data, rounds)


def test_a_repository_of_triton_comes_in_version_by_version(table, tmp_path):
    features, target = table
    linear = LogisticRegression().fit(features.to_numpy(), target)
    options = {id(linear): {"zipmap": False}}
    onnx = to_onnx(linear, features.to_numpy()[:1], options=options).SerializeToString()
    repository = tmp_path / "repository"
    for version in ("1", "3"):
        (repository / "Churn" / version).mkdir(parents=True)
        (repository / "Churn" / version / "model.onnx").write_bytes(onnx)
    (repository / "Churn" / "config.pbtxt").write_text(
        'name: "Churn"\nbackend: "onnxruntime"\nmax_batch_size: 8\n'
        'output [ { name: "probabilities" data_type: TYPE_FP32 dims: [ 2 ] label_filename: "labels.txt" } ]\n'
    )
    (repository / "Churn" / "labels.txt").write_text("stays\nleaves\n")
    forest = booster(features, target, 20)
    (repository / "forest" / "1").mkdir(parents=True)
    forest.save_model(repository / "forest" / "1" / "xgboost.json")
    (repository / "script" / "1").mkdir(parents=True)
    (repository / "script" / "1" / "model.py").write_text("class TritonPythonModel: pass\n")
    done = ombud("import", "triton", repository, "--out", tmp_path / "models", "--json")
    told = json.loads(done.stdout)
    assert [(one["name"], one["version"], one["from"]) for one in told["imported"]] == [
        ("churn", 1, {"name": "Churn", "version": "1"}),
        ("churn", 2, {"name": "Churn", "version": "3"}),
        ("forest", 1, {"name": "forest", "version": "1"}),
    ]
    assert [one["name"] for one in told["passed"]] == ["script"] and "run code" in told["passed"][0]["reason"]
    manifest = json.loads((tmp_path / "models" / "churn" / "1" / "manifest.json").read_text())
    assert manifest["outputs"]["names"] == ["stays", "leaves"]
    ours = answers(told["imported"][2]["bundle"], features, tmp_path)
    theirs = forest.predict(xgboost.DMatrix(features))
    column = next(name for name in ours.columns if name.endswith("_1") or name.endswith(".1"))
    np.testing.assert_allclose(ours[column], theirs, atol=1e-6)


def test_a_folder_of_mlserver_comes_in(table, tmp_path):
    features, target = table
    folder = tmp_path / "models-of-theirs"
    for place, runtime, uri in [("one", "mlserver_xgboost.XGBoostModel", "./model.ubj"), ("two", "mlserver_sklearn.SKLearnModel", "./model.joblib")]:
        (folder / place).mkdir(parents=True)
        settings = {"name": f"churn-{place}", "implementation": runtime, "parameters": {"uri": uri, "version": "v0.1.0"}}
        (folder / place / "model-settings.json").write_text(json.dumps(settings))
    booster(features, target, 10).save_model(folder / "one" / "model.ubj")
    (folder / "two" / "model.joblib").write_bytes(b"\x80\x04")
    told = json.loads(ombud("import", "mlserver", folder, "--out", tmp_path / "models", "--json").stdout)
    assert [one["name"] for one in told["imported"]] == ["churn-one"]
    assert [one["name"] for one in told["passed"]] == ["churn-two"]
    empty = ombud("import", "mlserver", folder / "two", "--out", tmp_path / "models", check=False)
    assert empty.returncode == 2 and "hint:" in empty.stderr
