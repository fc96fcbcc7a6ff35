"""Models of XGBoost and LightGBM, imported by the real binary: margins and labels as in the tool that trained them."""

import json

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from conftest import ombud
from foreign import answers, imported, people, record

pytestmark = pytest.mark.filterwarnings("ignore")
MARGINS = 1e-6
SEED = 7


def logit(p):
    return np.log(p) - np.log1p(-p)


def check_margins(name, ours, margins):
    """Equal relative beyond one: XGBoost adds in single precision, as we do, so a margin of 9 has fewer digits after the point."""
    difference = float((np.abs(ours - margins) / np.maximum(1, np.abs(margins))).max())
    record(name, len(ours), 1.0, difference)
    assert difference <= MARGINS


def table(rows=2500, is_multiclass=False, seed=SEED):
    """People with numbers, holes and categories, and what happened."""
    features, score = people(rows, seed)
    noise = np.random.default_rng(seed).normal(0, 0.5, rows)
    if is_multiclass:
        return features, pd.cut(score + noise, [-np.inf, 0.4, 1.2, np.inf], labels=False)
    return features, ((score + noise) > 0.8).astype(int)


XGB = {
    "binary": ({"objective": "binary:logistic"}, False),
    "multiclass": ({"objective": "multi:softprob", "num_class": 3}, True),
    "softmax": ({"objective": "multi:softmax", "num_class": 3}, True),
    "dart": ({"objective": "binary:logistic", "booster": "dart", "rate_drop": 0.2}, False),
    "dart multiclass": ({"objective": "multi:softprob", "num_class": 3, "booster": "dart", "rate_drop": 0.3}, True),
    "regression": ({"objective": "reg:squarederror"}, False),
    "poisson": ({"objective": "count:poisson"}, False),
    "tweedie": ({"objective": "reg:tweedie"}, False),
    "absolute": ({"objective": "reg:absoluteerror"}, False),
    "hinge": ({"objective": "binary:hinge"}, False),
    "gamma": ({"objective": "reg:gamma"}, False),
    "huber": ({"objective": "reg:pseudohubererror"}, False),
    "squared log": ({"objective": "reg:squaredlogerror"}, False),
    "regression to a share": ({"objective": "reg:logistic"}, False),
    "logitraw": ({"objective": "binary:logitraw"}, False),
    "deep": ({"objective": "binary:logistic", "max_depth": 11, "eta": 0.9}, False),
}


@pytest.mark.parametrize("ending", ["json", "ubj"])
@pytest.mark.parametrize("case", XGB)
def test_xgboost_answers_here_as_there(case, ending, tmp_path):
    parameters, is_multiclass = XGB[case]
    features, target = table(is_multiclass=is_multiclass)
    target = target + 1 if case == "gamma" else target
    rows = xgboost.DMatrix(features, target, enable_categorical=True)
    booster = xgboost.train({"max_depth": 5, "seed": SEED} | parameters, rows, 30)
    path = tmp_path / f"model.{ending}"
    booster.save_model(path)
    bundle = imported("xgboost", path, tmp_path)
    found = answers(bundle, features, tmp_path)
    margins = booster.predict(rows, output_margin=True)
    wanted = booster.predict(rows)
    if parameters["objective"] in ("binary:hinge",):
        assert (found["prediction"].astype(int) == wanted).all()
        return
    if "p_0" not in found:
        value = found["prediction"].to_numpy(float)
        is_log = parameters["objective"] in ("count:poisson", "reg:tweedie", "reg:gamma")
        ours = np.log(value) if is_log else value
        check_margins(f"XGBoost {case} ({ending})", ours, margins)
        assert np.allclose(value, wanted, rtol=1e-6, atol=1e-6)
        return
    shares = found[[f"p_{k}" for k in range(3 if is_multiclass else 2)]].to_numpy(float)
    if is_multiclass:
        exact = np.exp(margins - margins.max(1, keepdims=True))
        exact /= exact.sum(1, keepdims=True)
        check_margins(f"XGBoost {case} ({ending})", np.log(shares), np.log(exact))
        assert (found["prediction"].astype(int) == margins.argmax(1)).all()
    else:
        check_margins(f"XGBoost {case} ({ending})", logit(shares[:, 1]), margins)
        assert (found["prediction"].astype(int) == (wanted > 0.5)).all()


LGB = {
    "binary": ({"objective": "binary"}, False),
    "multiclass": ({"objective": "multiclass", "num_class": 3}, True),
    "one versus all": ({"objective": "multiclassova", "num_class": 3}, True),
    "dart": ({"objective": "binary", "boosting": "dart"}, False),
    "dart multiclass": ({"objective": "multiclass", "num_class": 3, "boosting": "dart"}, True),
    "random forest": ({"objective": "binary", "boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6}, False),
    "goss": ({"objective": "binary", "data_sample_strategy": "goss"}, False),
    "regression": ({"objective": "regression"}, False),
    "sqrt": ({"objective": "regression", "reg_sqrt": True}, False),
    "poisson": ({"objective": "poisson"}, False),
    "zero as missing": ({"objective": "binary", "zero_as_missing": True}, False),
    "no missing": ({"objective": "binary", "use_missing": False}, False),
    "sigmoid": ({"objective": "binary", "sigmoid": 1.7}, False),
}


@pytest.mark.parametrize("case", LGB)
def test_lightgbm_answers_here_as_there(case, tmp_path):
    parameters, is_multiclass = LGB[case]
    features, target = table(is_multiclass=is_multiclass)
    settings = {"verbose": -1, "seed": SEED, "num_leaves": 20, "num_threads": 2} | parameters
    booster = lightgbm.train(settings, lightgbm.Dataset(features, target), 30)
    path = tmp_path / "model.txt"
    booster.save_model(path)
    bundle = imported("lightgbm", path, tmp_path)
    found = answers(bundle, features, tmp_path)
    wanted = booster.predict(features)
    if "p_0" not in found:
        record(f"LightGBM {case}", len(wanted), None, np.abs(found["prediction"].to_numpy(float) - wanted).max())
        assert np.allclose(found["prediction"].to_numpy(float), wanted, rtol=1e-9, atol=1e-9)
        return
    shares = found[[f"p_{k}" for k in range(3 if is_multiclass else 2)]].to_numpy(float)
    wanted = wanted if is_multiclass else np.column_stack([1 - wanted, wanted])
    record(f"LightGBM {case}", len(wanted), 1.0, np.abs(shares - wanted).max())
    assert np.abs(shares - wanted).max() <= 1e-9
    assert (found["prediction"].astype(int) == wanted.argmax(1)).all()
    margins = booster.predict(features, raw_score=True)
    if case not in ("multiclass", "dart multiclass", "random forest"):
        sigmoid = parameters.get("sigmoid", 1.0)
        ours = logit(shares if is_multiclass else shares[:, 1]) / sigmoid
        assert np.abs(ours - margins).max() <= MARGINS


def test_the_features_and_their_values_come_from_the_file(tmp_path):
    features, target = table()
    booster = lightgbm.train({"objective": "binary", "verbose": -1}, lightgbm.Dataset(features, target), 5)
    booster.save_model(tmp_path / "model.txt")
    schema = manifest(imported("lightgbm", tmp_path / "model.txt", tmp_path))["schema"]["features"]
    assert [feature["name"] for feature in schema] == list(features.columns)
    assert {feature["name"]: feature["values"] for feature in schema if feature["type"] == "category"} == {
        name: list(features[name].cat.categories) for name in ("department", "shift")
    }


def manifest(bundle):
    return json.loads((bundle / "manifest.json").read_text())


def test_categories_without_names_are_asked_for_by_their_code(tmp_path):
    random = np.random.default_rng(SEED)
    codes = random.integers(0, 9, 2000)
    features = np.column_stack([codes, random.normal(size=2000)]).astype(float)
    target = (np.isin(codes, [1, 4, 7]) ^ (features[:, 1] > 1)).astype(int)
    frame = pd.DataFrame(features, columns=["f0", "f1"])
    # New codes arrive when the model serves.
    frame.loc[:50, "f0"] = 11
    rows = xgboost.DMatrix(features, target, feature_types=["c", "q"], enable_categorical=True)
    booster = xgboost.train({"objective": "binary:logistic", "max_depth": 4}, rows, 20)
    booster.save_model(tmp_path / "model.ubj")
    found = answers(imported("xgboost", tmp_path / "model.ubj", tmp_path), frame, tmp_path)
    asked = xgboost.DMatrix(frame.to_numpy(), feature_types=["c", "q"], enable_categorical=True)
    assert np.abs(found["p_1"] - booster.predict(asked)).max() <= 1e-6
    dataset = lightgbm.Dataset(features, target, categorical_feature=[0])
    booster = lightgbm.train({"objective": "binary", "verbose": -1}, dataset, 20)
    booster.save_model(tmp_path / "model.txt")
    asked = frame.rename(columns={"f0": "Column_0", "f1": "Column_1"})
    found = answers(imported("lightgbm", tmp_path / "model.txt", tmp_path), asked, tmp_path)
    assert np.abs(found["p_1"] - booster.predict(frame.to_numpy())).max() <= 1e-9


@pytest.mark.parametrize("tool", ["xgboost", "lightgbm"])
def test_a_ranking_objective_is_refused_by_name(tool, tmp_path):
    features, target = table(400)
    if tool == "xgboost":
        path = tmp_path / "model.json"
        rows = xgboost.DMatrix(features, target, enable_categorical=True, qid=np.repeat(np.arange(40), 10))
        xgboost.train({"objective": "rank:pairwise"}, rows, 3).save_model(path)
    else:
        path = tmp_path / "model.txt"
        rows = lightgbm.Dataset(features, target, group=[10] * 40)
        lightgbm.train({"objective": "lambdarank", "verbose": -1}, rows, 3).save_model(path)
    refused = ombud("import", tool, path, "--name", "ranks", "--out", tmp_path / "models", check=False)
    assert refused.returncode == 2
    assert "rank" in refused.stderr and "hint: " in refused.stderr
    assert not (tmp_path / "models").exists()


def test_reasons_add_up_as_in_xgboost(tmp_path):
    features, target = table(300)
    rows = xgboost.DMatrix(features, target, enable_categorical=True)
    booster = xgboost.train({"objective": "binary:logistic"}, rows, 10)
    booster.save_model(tmp_path / "model.ubj")
    bundle = imported("xgboost", tmp_path / "model.ubj", tmp_path)
    features.to_csv(tmp_path / "rows.csv", index=False)
    done = ombud("predict", bundle, "--data", tmp_path / "rows.csv", "--explain", "--format", "jsonl")
    shares = booster.predict(rows, pred_contribs=True)
    for line, wanted in zip(done.stdout.splitlines(), shares):
        answer = json.loads(line)
        sign = 1 if answer["prediction"] == "1" else -1
        for reason in answer["reasons"]["features"]:
            assert sign * reason["weight"] == pytest.approx(wanted[list(features.columns).index(reason["feature"])], abs=1e-4)
