"""The peers' side of `cargo xtask bench`: holds work ready and does a measured piece of it when told.

    duel.py prepare TOPIC FOLDER            leaves the same data, and the same model, for both sides
    duel.py play TOPIC PEER FOLDER THREADS  speaks as benches/duel does: a line of measures, then an answer per line

`value` is what must come out equal on both sides: a sum of margins, an objective, an inertia.
"""

import argparse
import json
import pathlib
import sys
import time

import numpy

SEED = 7
CLASSES = 5
FEATURES = 28
SINGLE_ROWS = 200


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    modes = arguments.add_subparsers(dest="mode", required=True)
    prepare = modes.add_parser("prepare")
    prepare.add_argument("topic", choices=sorted(PREPARE))
    prepare.add_argument("folder", type=pathlib.Path)
    prepare.add_argument("--data", type=pathlib.Path)
    play = modes.add_parser("play")
    play.add_argument("topic")
    play.add_argument("peer")
    play.add_argument("folder", type=pathlib.Path)
    play.add_argument("threads", type=int)
    arguments = arguments.parse_args()
    if arguments.mode == "prepare":
        arguments.folder.mkdir(parents=True, exist_ok=True)
        facts = PREPARE[arguments.topic](arguments.folder, arguments.data)
        (arguments.folder / "prepared.json").write_text(json.dumps(facts))
        return
    serve(PLAY[arguments.topic, arguments.peer](arguments.folder, arguments.threads))


def serve(measures):
    say({"measures": list(measures)})
    for line in sys.stdin:
        items, work = measures[line.strip()]
        started = time.perf_counter()
        value = work()
        say({"seconds": time.perf_counter() - started, "items": items, "value": float(value)})


def say(answer):
    print(json.dumps(answer), flush=True)


def facts_of(folder):
    return json.loads((folder / "prepared.json").read_text())


def survey(rows, seed):
    """Answers on a few scales, counts and numbers with holes, and a class that depends on some of them."""
    dice = numpy.random.default_rng(seed)
    mood = dice.normal(size=(rows, 4))
    x = numpy.empty((rows, FEATURES), dtype=numpy.float32)
    for feature in range(FEATURES):
        own = 0.7 * mood[:, feature % 4] + 0.7 * dice.normal(size=rows)
        x[:, feature] = numpy.round(numpy.clip(2.5 + own, 1, 4), 1) if feature < 22 else own
    pull = 1.4 * mood[:, 0] + mood[:, 1] * (x[:, 5] > 2.5) + 0.8 * dice.normal(size=rows)
    y = numpy.digitize(pull, [-1.6, -0.5, 0.5, 1.6]).astype(numpy.uint32)
    x[dice.random(x.shape) < 0.03] = numpy.nan
    return x, y


def train_xgboost(x, y, rounds, threads):
    import xgboost

    parameters = {
        "objective": "multi:softprob", "num_class": CLASSES, "tree_method": "hist", "max_depth": 6,
        "learning_rate": 0.1, "seed": SEED, "nthread": threads,
    }
    return xgboost.train(parameters, xgboost.QuantileDMatrix(x, y), num_boost_round=rounds)


def train_lightgbm(x, y, rounds, threads):
    import lightgbm

    parameters = {
        "objective": "multiclass", "num_class": CLASSES, "num_leaves": 63, "max_depth": 6, "learning_rate": 0.1,
        "seed": SEED, "num_threads": threads, "verbosity": -1, "deterministic": True,
    }
    return lightgbm.train(parameters, lightgbm.Dataset(x, label=y), num_boost_round=rounds)


def prepare_forest(folder, _):
    rounds, training, rows, explained = 300, 20_000, 20_000, 256
    x, y = survey(training, SEED)
    train_xgboost(x, y, rounds, 1).save_model(folder / "forest.ubj")
    train_lightgbm(x, y, rounds, 1).save_model(folder / "forest.txt")
    unseen, _ = survey(rows, SEED + 1)
    unseen.tofile(folder / "rows.f32")
    return {"features": FEATURES, "classes": CLASSES, "rounds": rounds, "explained": explained}


def prepare_trees(folder, _):
    x, y = survey(49_550, SEED)
    x.tofile(folder / "rows.f32")
    y.tofile(folder / "classes.u32")
    return {"features": FEATURES, "classes": CLASSES, "rounds": 100}


def prepare_text(folder, data):
    """CLINC150: 23,700 short texts of 151 intents."""
    import pandas

    frame = pandas.read_csv(data / "clinc150" / "train.csv")
    text, label = "text", "intent"
    frame = frame.dropna(subset=[text, label])
    codes, names = pandas.factorize(frame[label], sort=True)
    (folder / "texts.json").write_text(json.dumps(frame[text].astype(str).tolist()))
    codes.astype(numpy.uint32).tofile(folder / "classes.u32")
    return {"classes": len(names)}


def prepare_cluster(folder, _):
    segments, rows, features = 8, 60_000, 12
    dice = numpy.random.default_rng(SEED)
    centers = dice.normal(scale=1.6, size=(segments, features))
    spread = dice.uniform(0.5, 1.4, size=(segments, features))
    of = dice.integers(segments, size=rows)
    points = centers[of] + spread[of] * dice.normal(size=(rows, features))
    points = (points - points.mean(axis=0)) / points.std(axis=0)
    points.astype(numpy.float64).tofile(folder / "points.f64")
    return {"features": features, "segments": segments, "restarts": 5}


def rows_of(folder):
    return numpy.fromfile(folder / "rows.f32", dtype=numpy.float32).reshape(-1, facts_of(folder)["features"])


def infer_xgboost(folder, threads):
    import xgboost

    booster = xgboost.Booster(model_file=folder / "forest.ubj")
    booster.set_param({"nthread": threads})
    rows = rows_of(folder)
    ask = lambda some: booster.inplace_predict(some, predict_type="margin")
    return forest_measures(rows, ask)


def infer_lightgbm(folder, threads):
    import lightgbm

    booster = lightgbm.Booster(model_file=folder / "forest.txt")
    rows = rows_of(folder)
    return forest_measures(rows, lambda some: booster.predict(some, raw_score=True, num_threads=threads))


def infer_lleaves(folder, threads):
    import lleaves

    model = lleaves.Model(model_file=str(folder / "forest.txt"))
    model.compile(cache=str(folder / "lleaves.o"), raw_score=True)
    rows = rows_of(folder).astype(numpy.float64)
    return forest_measures(rows, lambda some: model.predict(some, n_jobs=threads))


def infer_tl2cgen(folder, threads):
    import tl2cgen
    import treelite

    library = folder / "tl2cgen.so"
    if not library.exists():
        model = treelite.frontend.load_xgboost_model(folder / "forest.ubj")
        tl2cgen.export_lib(model, toolchain="gcc", libpath=library, params={"parallel_comp": 64, "quantize": 1}, nthread=2)
    model = tl2cgen.Predictor(library, nthread=threads)
    return forest_measures(rows_of(folder), lambda some: model.predict(tl2cgen.DMatrix(some), pred_margin=True))


def forest_measures(rows, ask):
    def single():
        return sum(float(ask(rows[row : row + 1]).ravel()[0]) for row in range(SINGLE_ROWS))

    ask(rows[:10])
    return {"batch": (len(rows), lambda: ask(rows).sum(dtype=numpy.float64)), "single": (SINGLE_ROWS, single)}


def explain_xgboost(folder, threads):
    import xgboost

    booster = xgboost.Booster(model_file=folder / "forest.ubj")
    booster.set_param({"nthread": threads})
    matrix = xgboost.DMatrix(rows_of(folder)[: facts_of(folder)["explained"]])
    ask = lambda: booster.predict(matrix, pred_contribs=True)
    agree(folder, ask())
    return {"explain": (matrix.num_row(), lambda: numpy.abs(ask()).sum(dtype=numpy.float64))}


def agree(folder, theirs):
    """Every value within 1e-5 of ours, or the benchmark stops here."""
    file = folder / "ombud_parts.f64"
    if not file.exists():
        return
    ours = numpy.fromfile(file, dtype=numpy.float64)
    worst = numpy.abs(ours - theirs.ravel()).max()
    if not worst < 1e-5:
        raise SystemExit(f"contributions differ by {worst}")


def explain_shap(folder, _):
    import shap
    import xgboost

    booster = xgboost.Booster(model_file=folder / "forest.ubj")
    rows = rows_of(folder)[: facts_of(folder)["explained"]]
    explainer = shap.TreeExplainer(booster)
    return {"explain": (len(rows), lambda: numpy.abs(explainer.shap_values(rows)).sum(dtype=numpy.float64))}


def text_sklearn(folder, threads):
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    texts = json.loads((folder / "texts.json").read_text())
    classes = numpy.fromfile(folder / "classes.u32", dtype=numpy.uint32)
    make = lambda: TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    vectorizer = make()
    rows = vectorizer.fit_transform(texts)
    fit = lambda: LogisticRegression(C=1.0, max_iter=1000, tol=1e-4).fit(rows, classes)
    model = fit()

    def objective():
        fitted = fit()
        losses = -fitted.predict_log_proba(rows)[numpy.arange(len(classes)), classes]
        return losses.sum() + 0.5 * (fitted.coef_**2).sum()

    def single():
        return sum(model.predict_proba(vectorizer.transform([text])).max() for text in texts[:SINGLE_ROWS])

    return {
        "vectorize": (len(texts), lambda: make().fit_transform(texts).nnz),
        "learn": (len(texts), objective),
        "single": (SINGLE_ROWS, single),
    }


def cluster_sklearn(folder, _):
    from sklearn.cluster import KMeans
    from sklearn.mixture import GaussianMixture

    facts = facts_of(folder)
    points = numpy.fromfile(folder / "points.f64").reshape(-1, facts["features"])
    kmeans = lambda: KMeans(facts["segments"], n_init=facts["restarts"], random_state=SEED).fit(points).inertia_
    mixture = lambda: GaussianMixture(facts["segments"], random_state=SEED).fit(points).lower_bound_
    return {"kmeans": (len(points), kmeans), "mixture": (len(points), mixture)}


def trees_of(train, predict):
    def play(folder, threads):
        facts = facts_of(folder)
        x, y = rows_of(folder), numpy.fromfile(folder / "classes.u32", dtype=numpy.uint32)
        last = {}

        def grow():
            last["model"] = train(x, y, facts["rounds"], threads)
            return facts["rounds"]

        def loss():
            return -numpy.log(numpy.maximum(predict(last["model"], x)[numpy.arange(len(y)), y], 1e-15)).mean()

        return {"grow": (facts["rounds"], grow), "loss": (len(y), loss)}

    return play


PREPARE = {
    "infer": prepare_forest,
    "explain": prepare_forest,
    "text": prepare_text,
    "cluster": prepare_cluster,
    "trees": prepare_trees,
}

PLAY = {
    ("infer", "xgboost"): infer_xgboost,
    ("infer", "lightgbm"): infer_lightgbm,
    ("infer", "lleaves"): infer_lleaves,
    ("infer", "tl2cgen"): infer_tl2cgen,
    ("explain", "xgboost"): explain_xgboost,
    ("explain", "shap"): explain_shap,
    ("text", "sklearn"): text_sklearn,
    ("cluster", "sklearn"): cluster_sklearn,
    ("trees", "xgboost"): trees_of(train_xgboost, lambda model, x: model.inplace_predict(x)),
    ("trees", "lightgbm"): trees_of(train_lightgbm, lambda model, x: model.predict(x)),
}


if __name__ == "__main__":
    main()
