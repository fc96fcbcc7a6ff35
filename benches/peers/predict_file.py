"""The peer of `ombud predict` on a whole file: read it, ask XGBoost, write the answers.

CSV goes through pandas and Parquet through polars, each the way its users write it.
"""

import argparse

import xgboost


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("model")
    arguments.add_argument("data")
    arguments.add_argument("out")
    arguments = arguments.parse_args()
    booster = xgboost.Booster(model_file=arguments.model)
    # Names of features are not in a forest's own file; in these files they begin with x.
    booster.feature_names = None
    if arguments.data.endswith(".parquet"):
        by_polars(booster, arguments.data, arguments.out)
    else:
        by_pandas(booster, arguments.data, arguments.out)


def by_pandas(booster, data, out):
    import pandas

    frame = pandas.read_csv(data)
    scores = booster.predict(xgboost.DMatrix(frame[[name for name in frame if name.startswith("x")]].to_numpy()))
    answers = pandas.DataFrame(scores, columns=[f"p_{place}" for place in range(scores.shape[1])])
    answers.insert(0, "confidence", scores.max(axis=1))
    answers.insert(0, "prediction", scores.argmax(axis=1))
    answers.to_csv(out, index=False)


def by_polars(booster, data, out):
    import polars

    frame = polars.read_parquet(data)
    scores = booster.predict(xgboost.DMatrix(frame.select(polars.col("^x.*$")).to_numpy()))
    answers = polars.DataFrame(scores, schema=[f"p_{place}" for place in range(scores.shape[1])])
    answers = answers.with_columns(
        prediction=polars.Series(scores.argmax(axis=1)), confidence=polars.Series(scores.max(axis=1))
    )
    answers.write_parquet(out)


if __name__ == "__main__":
    main()
