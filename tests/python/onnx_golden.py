"""Writes the small converted models, with what onnxruntime says to a few rows, that the Rust tests keep.

    python onnx_golden.py FOLDER
"""

import json
import pathlib
import sys

import numpy as np

import onnx_cases as roundtrip

SEED = roundtrip.SEED


def models():
    from sklearn import ensemble, linear_model, neighbors, preprocessing, svm
    from sklearn.pipeline import make_pipeline

    import lightgbm
    import xgboost

    yield "logistic_scaled", "iris", make_pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression()), "skl"
    yield "random_forest", "iris", ensemble.RandomForestClassifier(6, max_depth=3, random_state=SEED), "skl"
    yield "gradient_boosting_regressor", "diabetes", ensemble.GradientBoostingRegressor(n_estimators=6, max_depth=2, random_state=SEED), "skl"
    yield "svc_probability", "iris", svm.SVC(probability=True, random_state=SEED), "skl"
    yield "nearest_neighbours", "small", neighbors.KNeighborsClassifier(3), "skl"
    yield "xgboost_holes", "holes", xgboost.XGBClassifier(n_estimators=6, max_depth=3), "xgb"
    yield "lightgbm_categories", "digits categories", lightgbm.LGBMClassifier(n_estimators=2, num_leaves=6, verbose=-1), "lgb categories"
    yield "mixed_one_hot", "mixed", None, "mixed linear"
    yield "text", "texts", None, "texts"


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    data = roundtrip.tables()
    data["mixed"] = data["texts"] = None
    data["small"] = tuple(part[::10] for part in data["iris"])
    for case in models():
        name = case[0]
        proto, inputs = roundtrip.convert(case, data, folder)
        inputs = {key: values[:: max(1, len(values) // 6)][:6] for key, values in inputs.items()}
        outputs = roundtrip.expected(proto, inputs)
        clean = lambda values: [[None if isinstance(x, float) and np.isnan(x) else x for x in np.atleast_1d(row).tolist()] for row in values]
        document = {"inputs": {key: clean(values) for key, values in inputs.items()}, "outputs": {key: clean(values) for key, values in outputs.items()}}
        (folder / f"{name}.onnx").write_bytes(proto)
        (folder / f"{name}.json").write_text(json.dumps(document, indent=None) + "\n")


if __name__ == "__main__":
    main()
