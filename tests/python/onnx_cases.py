"""Models of other people's tools as ONNX files: what is trained, converted and compared, for the tests beside this file.

Some graphs magnify the rounding of single precision (differences of large logarithms, distances of near points).
There onnxruntime, which adds in single precision, is itself further than 1e-5 from the estimator; such a row is held
against the estimator's own numbers in double precision, and must be no further from them than onnxruntime is, with the
estimator's own labels.
"""

import json
import pathlib
import subprocess
import warnings

import numpy as np
import onnxruntime
import pandas as pd

warnings.filterwarnings("ignore")


def lists_for_arrays():
    """skl2onnx 1.20 hands arrays and truths to onnx 1.23 where it takes lists of numbers."""
    import onnx.helper

    make = onnx.helper.make_attribute

    def listed(value):
        if not isinstance(value, (list, np.ndarray)):
            return value
        value = value.tolist() if isinstance(value, np.ndarray) else value
        return [int(x) if isinstance(x, (bool, np.bool_)) else x for x in value]

    onnx.helper.make_attribute = lambda key, value, *rest, **named: make(key, listed(value), *rest, **named)


lists_for_arrays()
TOLERANCE = 1e-5
SEED = 7


def tables():
    """Data sets by name: features, target."""
    from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine

    cancer = load_breast_cancer(return_X_y=True)
    holes = cancer[0].copy()
    holes[np.random.default_rng(SEED).random(holes.shape) < 0.1] = np.nan
    return {
        "cancer": cancer,
        "holes": (holes, cancer[1]),
        "iris": load_iris(return_X_y=True),
        "wine": load_wine(return_X_y=True),
        "digits": load_digits(return_X_y=True),
        "diabetes": load_diabetes(return_X_y=True),
    }


def mixed_table(rows=3000):
    """People with numbers, categories and holes."""
    random = np.random.default_rng(SEED)
    table = pd.DataFrame(
        {
            "age": random.integers(18, 70, rows).astype(np.float32),
            "salary": random.lognormal(10, 0.5, rows).astype(np.float32),
            "department": random.choice(["Surgery", "Wards", "Kitchen", "Office"], rows),
            "shift": random.choice(["day", "night", "late"], rows),
            "grade": random.integers(10, 14, rows),
        }
    )
    table.loc[random.random(rows) < 0.1, "salary"] = np.nan
    score = (table.age > 40).astype(int) + (table.department == "Wards") + (table["shift"] == "night")
    return table, np.where(score + random.normal(0, 0.4, rows) > 1.2, "leaves", "stays")


def cases():
    """Yields (name, data set, estimator, converter)."""
    from sklearn import (calibration, cluster, decomposition, discriminant_analysis, ensemble, feature_selection,
                         gaussian_process, impute, linear_model, mixture, multiclass, multioutput, naive_bayes,
                         neighbors, neural_network, preprocessing, svm, tree)
    from sklearn.pipeline import make_pipeline

    logistic = lambda **k: linear_model.LogisticRegression(max_iter=500, **k)
    scaled = preprocessing.StandardScaler
    skl = "skl"
    yield "LogisticRegression (2 classes)", "cancer", make_pipeline(scaled(), logistic()), skl
    yield "LogisticRegression (3 classes)", "iris", logistic(), skl
    yield "SGDClassifier", "wine", make_pipeline(scaled(), linear_model.SGDClassifier(loss="log_loss")), skl
    yield "Perceptron", "wine", make_pipeline(scaled(), linear_model.Perceptron()), skl
    yield "RidgeClassifier", "cancer", linear_model.RidgeClassifier(), skl
    yield "LinearSVC", "iris", svm.LinearSVC(), skl
    yield "SVC (rbf)", "wine", make_pipeline(scaled(), svm.SVC()), skl
    yield "SVC (rbf, 2 classes)", "cancer", make_pipeline(scaled(), svm.SVC()), skl
    yield "SVC (rbf, probabilities)", "wine", make_pipeline(scaled(), svm.SVC(probability=True)), skl
    yield "SVC (poly, probabilities, 2 classes)", "cancer", make_pipeline(scaled(), svm.SVC(kernel="poly", probability=True)), skl
    yield "NuSVC", "iris", svm.NuSVC(), skl
    yield "DecisionTreeClassifier", "wine", tree.DecisionTreeClassifier(random_state=SEED), skl
    yield "DecisionTreeClassifier (2 classes)", "cancer", tree.DecisionTreeClassifier(random_state=SEED), skl
    yield "RandomForestClassifier (2 classes)", "cancer", ensemble.RandomForestClassifier(50, random_state=SEED), skl
    yield "RandomForestClassifier (10 classes)", "digits", ensemble.RandomForestClassifier(50, random_state=SEED), skl
    yield "ExtraTreesClassifier", "iris", ensemble.ExtraTreesClassifier(50, random_state=SEED), skl
    yield "GradientBoostingClassifier (2 classes)", "cancer", ensemble.GradientBoostingClassifier(random_state=SEED), skl
    yield "GradientBoostingClassifier (3 classes)", "wine", ensemble.GradientBoostingClassifier(random_state=SEED), skl
    yield "HistGradientBoostingClassifier (holes)", "holes", ensemble.HistGradientBoostingClassifier(max_iter=50), skl
    yield "HistGradientBoostingClassifier (10 classes)", "digits", ensemble.HistGradientBoostingClassifier(max_iter=10), skl
    yield "AdaBoostClassifier", "wine", ensemble.AdaBoostClassifier(n_estimators=20, random_state=SEED), skl
    yield "BaggingClassifier", "wine", ensemble.BaggingClassifier(random_state=SEED), skl
    yield "StackingClassifier", "iris", ensemble.StackingClassifier([("a", logistic()), ("b", naive_bayes.GaussianNB())]), skl
    yield "VotingClassifier", "iris", ensemble.VotingClassifier([("a", logistic()), ("b", naive_bayes.GaussianNB())], voting="soft", flatten_transform=False), skl
    yield "GaussianNB", "iris", naive_bayes.GaussianNB(), skl
    yield "BernoulliNB", "digits", naive_bayes.BernoulliNB(binarize=8), skl
    yield "MultinomialNB", "digits", naive_bayes.MultinomialNB(), skl
    yield "ComplementNB", "digits", naive_bayes.ComplementNB(), skl
    yield "CategoricalNB", "digits", naive_bayes.CategoricalNB(), skl
    yield "KNeighborsClassifier", "iris", neighbors.KNeighborsClassifier(), skl
    yield "KNeighborsClassifier (CDist)", "iris", neighbors.KNeighborsClassifier(), "skl cdist"
    yield "MLPClassifier", "wine", make_pipeline(scaled(), neural_network.MLPClassifier(max_iter=200, random_state=SEED)), skl
    yield "LinearDiscriminantAnalysis", "wine", discriminant_analysis.LinearDiscriminantAnalysis(), skl
    yield "QuadraticDiscriminantAnalysis", "iris", discriminant_analysis.QuadraticDiscriminantAnalysis(), skl
    yield "CalibratedClassifierCV (sigmoid)", "cancer", calibration.CalibratedClassifierCV(make_pipeline(scaled(), logistic())), skl
    yield "CalibratedClassifierCV (isotonic)", "iris", calibration.CalibratedClassifierCV(naive_bayes.GaussianNB(), method="isotonic"), skl
    yield "OneVsRestClassifier", "iris", multiclass.OneVsRestClassifier(logistic()), skl
    yield "OneVsOneClassifier", "iris", multiclass.OneVsOneClassifier(logistic()), skl
    yield "KMeans", "iris", cluster.KMeans(3, random_state=SEED), skl
    yield "MiniBatchKMeans", "digits", cluster.MiniBatchKMeans(10, random_state=SEED), skl
    yield "GaussianMixture", "iris", mixture.GaussianMixture(3, random_state=SEED), skl
    yield "IsolationForest", "wine", ensemble.IsolationForest(n_estimators=20, random_state=SEED), skl
    yield "OneClassSVM", "iris", svm.OneClassSVM(), skl
    prepare = [preprocessing.MinMaxScaler(), preprocessing.RobustScaler(), preprocessing.MaxAbsScaler(),
               preprocessing.Normalizer(), preprocessing.PolynomialFeatures(), preprocessing.KBinsDiscretizer(4, encode="onehot-dense", quantile_method="averaged_inverted_cdf"),
               preprocessing.QuantileTransformer(n_quantiles=40), preprocessing.PowerTransformer(), preprocessing.Binarizer(threshold=2.0),
               decomposition.PCA(2), decomposition.TruncatedSVD(2), feature_selection.SelectKBest(k=2)]
    for step in prepare:
        yield f"{type(step).__name__} + LogisticRegression", "iris", make_pipeline(step, logistic()), skl
    yield "SimpleImputer + RandomForestClassifier", "holes", make_pipeline(impute.SimpleImputer(), ensemble.RandomForestClassifier(30, random_state=SEED)), skl
    yield "SimpleImputer (median) + LogisticRegression", "holes", make_pipeline(impute.SimpleImputer(strategy="median"), scaled(), logistic()), skl
    for model in [linear_model.LinearRegression(), linear_model.Ridge(), linear_model.Lasso(), linear_model.ElasticNet(),
                  linear_model.BayesianRidge(), linear_model.HuberRegressor(), linear_model.PoissonRegressor(), linear_model.TweedieRegressor(),
                  svm.LinearSVR(), svm.SVR(), svm.NuSVR(), tree.DecisionTreeRegressor(random_state=SEED),
                  ensemble.RandomForestRegressor(50, random_state=SEED), ensemble.ExtraTreesRegressor(50, random_state=SEED),
                  ensemble.GradientBoostingRegressor(random_state=SEED), ensemble.HistGradientBoostingRegressor(max_iter=50),
                  ensemble.AdaBoostRegressor(n_estimators=20, random_state=SEED), ensemble.BaggingRegressor(random_state=SEED), neighbors.KNeighborsRegressor(),
                  neighbors.RadiusNeighborsRegressor(0.2), neural_network.MLPRegressor(max_iter=100, random_state=SEED), gaussian_process.GaussianProcessRegressor(alpha=0.1),
                  ensemble.VotingRegressor([("a", linear_model.Ridge()), ("b", tree.DecisionTreeRegressor(max_depth=4))]),
                  multioutput.MultiOutputRegressor(linear_model.Ridge())]:
        yield type(model).__name__, "diabetes", model, skl

    yield "mixed: imputer, scaler, one-hot + LogisticRegression", "mixed", None, "mixed linear"
    yield "mixed: imputer, ordinal + RandomForestClassifier", "mixed", None, "mixed forest"
    yield "TfidfVectorizer + LogisticRegression", "texts", None, "texts"

    import lightgbm
    import xgboost

    yield "XGBClassifier (2 classes, holes)", "holes", xgboost.XGBClassifier(n_estimators=60), "xgb"
    yield "XGBClassifier (10 classes)", "digits", xgboost.XGBClassifier(n_estimators=20), "xgb"
    yield "XGBRegressor", "diabetes", xgboost.XGBRegressor(n_estimators=60), "xgb"
    yield "XGBRegressor (count:poisson)", "diabetes", xgboost.XGBRegressor(n_estimators=60, objective="count:poisson"), "xgb"
    yield "XGBRFClassifier", "cancer", xgboost.XGBRFClassifier(n_estimators=30), "xgb"
    yield "LGBMClassifier (2 classes, holes)", "holes", lightgbm.LGBMClassifier(n_estimators=60, verbose=-1), "lgb"
    yield "LGBMClassifier (10 classes)", "digits", lightgbm.LGBMClassifier(n_estimators=20, verbose=-1), "lgb"
    yield "LGBMRegressor", "diabetes", lightgbm.LGBMRegressor(n_estimators=60, verbose=-1), "lgb"
    yield "LGBMClassifier (categories)", "digits categories", lightgbm.LGBMClassifier(n_estimators=20, verbose=-1), "lgb categories"
    try:
        import catboost
    except ImportError:
        return
    yield "CatBoostClassifier (2 classes)", "holes", catboost.CatBoostClassifier(iterations=60, verbose=False, allow_writing_files=False), "cat"
    yield "CatBoostClassifier (3 classes)", "wine", catboost.CatBoostClassifier(iterations=40, verbose=False, allow_writing_files=False), "cat"
    yield "CatBoostRegressor", "diabetes", catboost.CatBoostRegressor(iterations=60, verbose=False, allow_writing_files=False), "cat"


def convert(case, data, folder):
    """Trains and converts; gives the model's bytes and the inputs by name."""
    name, table, model, way = case
    if way.startswith("mixed"):
        return convert_mixed(way)
    if way == "texts":
        return convert_texts()
    if table == "digits categories":
        features, target = data["digits"]
        features, target = features[:, ::3], target
    else:
        features, target = data[table]
    features = features.astype(np.float32)
    if "MultiOutput" in name:
        target = np.stack([target, target[::-1]], 1)
    if way == "lgb categories":
        model.fit(features, target, categorical_feature=[2, 3, 4])
    else:
        model.fit(features, target)
    if way.startswith("skl"):
        from skl2onnx import to_onnx

        options = {id(model): {"optim": "cdist"}} if "cdist" in way else None
        opset = {"": 18, "ai.onnx.ml": 3, "com.microsoft": 1} if "cdist" in way else {"": 18, "ai.onnx.ml": 3}
        proto = to_onnx(model, features[:1], target_opset=opset, options=options)
    elif way == "cat":
        path = str(folder / "cat.onnx")
        model.save_model(path, format="onnx")
        return pathlib.Path(path).read_bytes(), {"features": features}
    else:
        import onnxmltools
        from onnxmltools.convert.common.data_types import FloatTensorType

        types = [("X", FloatTensorType([None, features.shape[1]]))]
        convert = onnxmltools.convert_xgboost if way == "xgb" else onnxmltools.convert_lightgbm
        proto = convert(model, initial_types=types, target_opset=15)
    return proto.SerializeToString(), {proto.graph.input[0].name: features}


def convert_mixed(way):
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

    table, target = mixed_table()
    numbers, words = ["age", "salary"], ["department", "shift"]
    if way == "mixed linear":
        columns = ColumnTransformer([("n", make_pipeline(SimpleImputer(), StandardScaler()), numbers),
                                     # As it comes it takes only what it knows; a made-up row has to please it.
                                     ("w", OneHotEncoder(), words), ("i", OneHotEncoder(), ["grade"])])
        model = make_pipeline(columns, LogisticRegression(max_iter=500))
    else:
        columns = ColumnTransformer([("n", SimpleImputer(), numbers), ("w", OrdinalEncoder(), words)])
        model = make_pipeline(columns, RandomForestClassifier(40, random_state=SEED))
    model.fit(table, target)
    grades = ["grade"] if way == "mixed linear" else []
    types = [(c, FloatTensorType([None, 1])) for c in numbers] + [(c, StringTensorType([None, 1])) for c in words]
    types += [(c, Int64TensorType([None, 1])) for c in grades]
    proto = to_onnx(model, initial_types=types, target_opset={"": 18, "ai.onnx.ml": 3})
    kinds = {**{c: np.float32 for c in numbers}, **{c: object for c in words}, **{c: np.int64 for c in grades}}
    return proto.SerializeToString(), {c: table[[c]].to_numpy(kind) for c, kind in kinds.items()}


def convert_texts():
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import StringTensorType
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    random = np.random.default_rng(SEED)
    words = ["calm", "shift", "night", "tired", "team", "fair", "late", "pay", "again", "never", "good", "manager"]
    texts = [" ".join(random.choice(words, random.integers(3, 15))) for _ in range(800)]
    target = [int(("tired" in t) + ("never" in t) + ("pay" in t) > 1) for t in texts]
    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, lowercase=False, token_pattern="[a-zA-Z0-9_]+"), LogisticRegression())
    model.fit(texts, target)
    proto = to_onnx(model, initial_types=[("text", StringTensorType([None, 1]))], target_opset={"": 18, "ai.onnx.ml": 3})
    return proto.SerializeToString(), {"text": np.array(texts, dtype=object).reshape(-1, 1)}


def expected(proto, inputs):
    """What onnxruntime gives: a list of arrays by output name."""
    options = onnxruntime.SessionOptions()
    # With several threads it adds up parts of a forest, and ties of votes fall as the threads do.
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(proto, options, providers=["CPUExecutionProvider"])
    outputs = {}
    for info, value in zip(session.get_outputs(), session.run(None, inputs)):
        if isinstance(value, list):
            value = np.array([list(row.values()) for row in value])
        outputs[info.name] = np.asarray(value)
    return outputs


def ours(binary, proto, inputs, folder):
    (folder / "model.onnx").write_bytes(proto)
    rows = len(next(iter(inputs.values())))
    lines = []
    for row in range(rows):
        cells = {}
        for name, values in inputs.items():
            cells[name] = [None if isinstance(x, float) and np.isnan(x) else x for x in values[row].tolist()]
        lines.append(json.dumps(cells))
    run = subprocess.run([binary, str(folder / "model.onnx")], input="\n".join(lines), capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError(run.stderr.strip())
    outputs = {}
    for line in run.stdout.splitlines():
        for name, value in json.loads(line).items():
            outputs.setdefault(name, []).append(value["scores"] if isinstance(value, dict) else value)
    return {name: np.array([[np.nan if x is None else x for x in row] for row in rows]) for name, rows in outputs.items()}


def compare(wanted, found):
    """Share of equal labels, and the greatest difference of a number."""
    equal, total, worst = 0, 0, 0.0
    for name, wanted_values in wanted.items():
        found_values = found[name].reshape(wanted_values.shape)
        if wanted_values.dtype.kind in "fc":
            difference = np.abs(wanted_values - found_values) / np.maximum(1, np.abs(wanted_values))
            is_same_hole = np.isnan(wanted_values) & np.isnan(found_values)
            difference = np.where(is_same_hole | (wanted_values == found_values), 0, difference)
            worst = max(worst, float(np.nan_to_num(difference, nan=np.inf).max(initial=0)))
        else:
            equal += int((wanted_values == found_values).sum())
            total += wanted_values.size
    return (equal / total if total else None), worst


def truth(model, inputs):
    """The estimator's own numbers in double precision."""
    features = next(iter(inputs.values())).astype(np.float64)
    way = next(way for way in ("predict_proba", "transform", "decision_function") if hasattr(model, way))
    return getattr(model, way)(features)


def distances(model, inputs, wanted, found):
    """How far our numbers and onnxruntime's are from the estimator's own."""
    exact = truth(model, inputs)
    name = next(name for name, values in wanted.items() if values.size == exact.size and values.dtype.kind == "f")
    distance = lambda values: float(np.abs(values.reshape(exact.shape) - exact).max() / max(1.0, np.abs(exact).max()))
    return distance(found[name]), distance(wanted[name])


def has_its_labels(model, inputs, wanted, found):
    """Whether our labels, where there are any, are all the estimator's own."""
    exact = model.predict(next(iter(inputs.values())))
    names = [name for name, values in wanted.items() if values.dtype.kind not in "fc"]
    return all((found[name].reshape(exact.shape) == exact).all() for name in names)
