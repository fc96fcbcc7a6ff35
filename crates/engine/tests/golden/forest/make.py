"""Writes the golden forests of this folder: a model, a few rows, and what its own library says of them.

Made with xgboost 3.2.0, lightgbm 4.7.0, numpy 2.4.6, pandas 3.1.1; run `python make.py` here to make them again.
`NAME.expected.json` holds `tool`, `rows` (null is missing), `margins`, `predictions`,
`contributions`, and by feature the `splits` and the total `gain` of all its splits.
"""

import json

import lightgbm
import numpy as np
import pandas as pd
import xgboost

ROWS = 12
COLUMNS = 5


def data(categories=0):
    """Numbers with ties and missing values; column 1 is a category if wanted."""
    random = np.random.default_rng(7)
    x = np.round(random.normal(size=(400, COLUMNS)), 2)
    if categories:
        x[:, 1] = random.integers(0, categories, 400)
    score = np.round(x[:, 0], 2) + np.where(x[:, 1] % 3 == 0, 1.0, -0.5) * (x[:, 2] > 0) + 0.3 * x[:, 3] ** 2
    x[random.random((400, COLUMNS)) < 0.08] = np.nan
    x[:4, 4] = 0.0
    return x, score


def listed(array):
    return [None if np.isnan(v) else float(v) for v in np.asarray(array, dtype=float).ravel()]


def write(name, tool, rows, margins, predictions, contributions, splits, gain):
    expected = {
        "tool": tool,
        "rows": listed(rows),
        "margins": listed(margins),
        "predictions": listed(predictions),
        "contributions": listed(contributions),
        "splits": listed(splits),
        "gain": listed(gain),
    }
    with open(f"{name}.expected.json", "w") as file:
        json.dump(expected, file, separators=(",", ":"))


def xgb(name, parameters, x, y, rounds=6, kind="ubj", frame=None, **extra):
    fixed = {"max_depth": 3, "eta": 0.4, "nthread": 1, "seed": 1, "tree_method": "hist"}
    train = xgboost.DMatrix(x if frame is None else frame, label=y, **extra)
    booster = xgboost.train({**fixed, **parameters}, train, rounds)
    booster.save_model(f"{name}.{kind}")
    some = xgboost.DMatrix((x if frame is None else frame)[:ROWS], **extra)
    margins = booster.predict(some, output_margin=True)
    predictions = booster.predict(some)
    # XGBoost has no contributions of leaf vectors.
    is_vector = parameters.get("multi_strategy") == "multi_output_tree"
    contributions = [] if is_vector else booster.predict(some, pred_contribs=True)
    names = booster.feature_names or [f"f{column}" for column in range(COLUMNS)]
    splits, gain = (
        [] if is_vector else [booster.get_score(importance_type=kind).get(name, 0) for name in names]
        for kind in ("weight", "total_gain")
    )
    tool = f"xgboost {xgboost.__version__}"
    write(name, tool, x[:ROWS], margins, predictions, contributions, splits, gain)


def lgb(name, parameters, x, y, rounds=6, frame=None, **extra):
    fixed = {"num_leaves": 7, "learning_rate": 0.4, "verbose": -1, "num_threads": 1, "seed": 1,
             "min_data_in_leaf": 10, "min_data_per_group": 5, "cat_smooth": 1.0}
    train = lightgbm.Dataset(x if frame is None else frame, y, **extra)
    booster = lightgbm.train({**fixed, **parameters}, train, rounds)
    text = booster.model_to_string()
    start, end = text.index("\nparameters:"), text.index("end of parameters")
    with open(f"{name}.lightgbm.txt", "w") as file:
        file.write(text[:start] + text[end + len("end of parameters"):])
    some = (x if frame is None else frame)[:ROWS]
    margins = booster.predict(some, raw_score=True)
    contributions = booster.predict(some, pred_contrib=True)
    # LightGBM averages a random forest's predictions, but not its margins and contributions.
    if parameters.get("boosting") == "rf":
        margins, contributions = margins / rounds, contributions / rounds
    write(
        name,
        f"lightgbm {lightgbm.__version__}",
        x[:ROWS],
        margins,
        booster.predict(some),
        contributions,
        booster.feature_importance("split"),
        booster.feature_importance("gain"),
    )


def make_xgboost():
    x, score = data()
    binary = (score > 0.2).astype(float)
    classes = np.digitize(score, [-0.5, 0.8]).astype(float)
    xgb("xgb-binary", {"objective": "binary:logistic"}, x, binary)
    xgb("xgb-binary-json", {"objective": "binary:logistic"}, x, binary, rounds=3, kind="json")
    xgb("xgb-multiclass", {"objective": "multi:softprob", "num_class": 3}, x, classes, rounds=4)
    xgb("xgb-regression", {"objective": "reg:squarederror", "max_depth": 9}, x, score, rounds=3)
    xgb("xgb-absolute", {"objective": "reg:absoluteerror"}, x, score, rounds=3)
    xgb("xgb-quantiles", {"objective": "reg:quantileerror", "quantile_alpha": [0.1, 0.5, 0.9]}, x, score, rounds=3)
    xgb("xgb-poisson", {"objective": "count:poisson"}, x, np.round(np.exp(score / 2)), rounds=4)
    xgb("xgb-dart", {"objective": "binary:logistic", "booster": "dart", "rate_drop": 0.5}, x, binary)
    two = np.stack([score, np.nan_to_num(x[:, 4]) - np.nan_to_num(x[:, 0])], 1)
    xgb("xgb-vector", {"objective": "reg:squarederror", "multi_strategy": "multi_output_tree"}, x, two, rounds=3)
    xgb("xgb-targets", {"objective": "reg:squarederror"}, x, two, rounds=3)
    x, score = data(categories=40)
    kinds = ["float", "c", "float", "float", "float"]
    names = ["age", "job code", "pay", "years", "gap"]
    set_splits = {"objective": "binary:logistic", "max_cat_to_onehot": 1}
    xgb("xgb-category", set_splits, x, (score > 0.2).astype(float), feature_types=kinds,
        feature_names=names, enable_categorical=True)
    frame = pandas_frame(x)
    xgb("xgb-labels", {"objective": "binary:logistic"}, x, (score > 0.2).astype(float), rounds=3, frame=frame,
        enable_categorical=True)


def pandas_frame(x):
    """Column 1 as text labels, whose code i is the number i again."""
    labels = [f"job {code:02}" for code in range(40)]
    frame = pd.DataFrame(x, columns=["age", "job", "pay", "years", "gap"])
    codes = np.where(np.isnan(x[:, 1]), -1, x[:, 1]).astype(int)
    frame["job"] = pd.Categorical.from_codes(codes, labels)
    return frame


def make_lightgbm():
    x, score = data()
    binary = (score > 0.2).astype(float)
    classes = np.digitize(score, [-0.5, 0.8]).astype(float)
    lgb("lgb-binary", {"objective": "binary", "sigmoid": 1.5}, x, binary)
    lgb("lgb-multiclass", {"objective": "multiclass", "num_class": 3}, x, classes, rounds=3)
    lgb("lgb-ova", {"objective": "multiclassova", "num_class": 3}, x, classes, rounds=2)
    lgb("lgb-regression", {"objective": "regression", "num_leaves": 31, "min_data_in_leaf": 3}, x, score, rounds=3)
    lgb("lgb-sqrt", {"objective": "regression", "reg_sqrt": True}, x, score, rounds=3)
    lgb("lgb-poisson", {"objective": "poisson"}, x, np.round(np.exp(score / 2)), rounds=3)
    lgb("lgb-dart", {"objective": "binary", "boosting": "dart", "drop_rate": 0.5}, x, binary)
    forest = {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5, "objective": "binary"}
    lgb("lgb-forest", forest, x, binary, rounds=4)
    x0 = np.where(np.abs(x) < 0.4, 0.0, x)
    lgb("lgb-zero", {"objective": "binary", "zero_as_missing": True}, x0, binary, rounds=4)
    lgb("lgb-no-missing", {"objective": "binary", "use_missing": False}, x, binary, rounds=3)
    x, score = data(categories=40)
    lgb("lgb-category", {"objective": "binary"}, x, (score > 0.2).astype(float),
        categorical_feature=[1], feature_name=["age", "job_code", "pay", "years", "gap"])
    lgb("lgb-labels", {"objective": "binary"}, x, (score > 0.2).astype(float), rounds=3, frame=pandas_frame(x))


make_xgboost()
make_lightgbm()
