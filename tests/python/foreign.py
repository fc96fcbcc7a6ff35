"""Models of other tools, brought in by the real binary and asked by it."""

import json
import os
import pathlib

import numpy as np
import pandas as pd
from conftest import ombud


def imported(tool, path, folder, *options, name="foreign"):
    done = ombud("import", tool, path, "--name", name, "--out", folder / "models", "--json", *options)
    told = json.loads(done.stdout)
    assert set(told) == {"name", "version", "bundle"} and told["name"] == name
    return pathlib.Path(told["bundle"])


def answers(bundle, features, folder):
    """The answers to a whole table; every number arrives as it is, for Parquet does not round."""
    data, out = folder / "rows.parquet", folder / "answers.parquet"
    features.to_parquet(data, index=False)
    ombud("predict", bundle, "--data", data, "--out", out)
    return pd.read_parquet(out)


def people(rows, seed):
    """Numbers with holes and zeros, and categories with holes; and a score that they make."""
    random = np.random.default_rng(seed)
    features = pd.DataFrame(
        {
            "age": random.integers(18, 70, rows).astype(float),
            "salary": random.lognormal(10, 0.5, rows),
            "nights": random.poisson(0.8, rows).astype(float),
            "balance": random.normal(0, 1, rows).round(2),
            "department": random.choice(["Surgery", "Wards", "Kitchen", "Office", "Night desk"], rows),
            "shift": random.choice(["day", "late", "night"], rows),
        }
    )
    for name in ("salary", "balance", "department"):
        features.loc[random.random(rows) < 0.12, name] = np.nan if name != "department" else None
    for name in ("department", "shift"):
        features[name] = features[name].astype("category")
    score = (features["age"] > 40) * 0.5 + (features["department"] == "Wards") + features["nights"] * 0.4
    return features, score.to_numpy(float) + features["balance"].fillna(0.3).to_numpy()


def record(model, rows, labels, difference):
    """A line of the table in docs/portable.md, when its file is named by the environment."""
    path = os.environ.get("OMBUD_PORTABLE_TABLE")
    if path:
        told = "-" if labels is None else f"{labels:.4f}"
        with open(path, "a") as table:
            far = "-" if difference is None else f"{difference:.1e}"
            table.write(f"| {model} | {rows} | {told} | {far} |\n")
