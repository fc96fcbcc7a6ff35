"""The peer of `ombud train`: read a CSV with pandas, train XGBoost, nothing else.

Settings are those of benches/recipes/train.toml. With --unseen it also scores other rows and prints
{"log_loss": …}; that part is not timed.
"""

import argparse
import json

import pandas
import xgboost


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("data")
    arguments.add_argument("--unseen")
    arguments = arguments.parse_args()

    frame = pandas.read_csv(arguments.data)
    model = train(frame.drop(columns="class"), frame["class"])
    if arguments.unseen:
        print(json.dumps({"log_loss": log_loss(model, pandas.read_csv(arguments.unseen))}))


def train(features, target):
    parameters = {
        "objective": "multi:softprob",
        "num_class": 5,
        "tree_method": "hist",
        "max_depth": 6,
        "learning_rate": 0.1,
        "seed": 7,
    }
    return xgboost.train(parameters, xgboost.QuantileDMatrix(features, target), num_boost_round=200)


def log_loss(model, frame):
    import sklearn.metrics

    scores = model.predict(xgboost.DMatrix(frame.drop(columns="class")))
    return float(sklearn.metrics.log_loss(frame["class"], scores, labels=range(5)))


if __name__ == "__main__":
    main()
