"""The scikit-learn references of `cargo xtask bench quality`, and the split both sides share.

For each task named by --only (or all): read the data set, keep the reference's features, split off a
random fifth (whole groups where rows belong together), write train.csv and test.csv, fit the references
on train, score them on test, and write reference.json:

    {"dataset", "task", "rows": [train, test],
     "metrics": [{"name", "higher_is_better", "reference", "by"}]}

The first metric decides which reference is the one to reach. A task whose reference.json is already
there is left alone; remove the folder to run it again.
"""

import argparse
import json
import pathlib
import sys
from dataclasses import dataclass, field

import numpy
import pandas
from sklearn import metrics
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MultiLabelBinarizer, OneHotEncoder, StandardScaler

SEED = 20261121
TEST_SHARE = 0.2
LOWER_IS_BETTER = {"log_loss", "mae", "inertia"}


@dataclass
class Task:
    """A data set, the column to learn, and how its rows are laid out."""

    folder: str
    kind: str  # binary, multiclass, regression, text, multilabel, kmeans, mixture
    read: callable
    target: str | None = None
    features: list = field(default_factory=list)
    identifiers: list = field(default_factory=list)  # kept in the files, never features
    group: str | None = None
    metrics: tuple = ()


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("data", type=pathlib.Path, help="the folder of data sets")
    arguments.add_argument("out", type=pathlib.Path, help="where a folder per task is written")
    arguments.add_argument("--only", action="append", choices=sorted(TASKS), metavar="TASK")
    arguments.add_argument("--list", action="store_true", help="print the tasks and their columns")
    arguments = arguments.parse_args()
    for name in arguments.only or TASKS:
        task = TASKS[name]
        if arguments.list:
            print(f"{name}: {describe(task, arguments.data)}")
            continue
        folder = arguments.out / name
        if (folder / "reference.json").exists():
            continue
        print(f"reference for {name}", file=sys.stderr, flush=True)
        folder.mkdir(parents=True, exist_ok=True)
        report = prepare(task, arguments.data, folder)
        (folder / "reference.json").write_text(json.dumps(report, indent=2) + "\n")


def describe(task, data):
    columns = ", ".join(columns_of(task, task.read(data / task.folder)))
    return f"{task.kind}, target {task.target}, grouped by {task.group}\n    {columns}"


def prepare(task, data, folder):
    frame = task.read(data / task.folder)
    frame = frame[columns_of(task, frame)]
    if task.target:
        frame = frame[frame[task.target].notna()]
    train, test = split(frame, task.group)
    train.to_csv(folder / "train.csv", index=False)
    test.to_csv(folder / "test.csv", index=False)
    scores = SCORERS[task.kind](task, train, test)
    headline = task.metrics[0]
    best = min if headline in LOWER_IS_BETTER else max
    by = best(scores, key=lambda name: scores[name].get(headline, numpy.nan))
    return {
        "dataset": task.folder,
        "task": task.kind,
        "rows": [len(train), len(test)],
        "metrics": [
            {
                "name": name,
                "higher_is_better": name not in LOWER_IS_BETTER,
                "reference": round(float(scores[by][name]), 6),
                "by": by,
            }
            for name in task.metrics
        ],
        "all": scores,
    }


def columns_of(task, frame):
    features = task.features or [
        name for name in frame.columns if name not in task.identifiers and name != task.target
    ]
    group = [task.group] if task.group and task.group not in task.identifiers else []
    return task.identifiers + group + features + ([task.target] if task.target else [])


def split(frame, group):
    """A random fifth of the rows, or of the groups."""
    draw = numpy.random.default_rng(SEED)
    keys = frame[group].to_numpy() if group else numpy.arange(len(frame))
    names = pandas.unique(keys)
    held = set(draw.permutation(names)[: round(len(names) * TEST_SHARE)])
    is_test = numpy.array([key in held for key in keys])
    return frame[~is_test], frame[is_test]


# ── references ────────────────────────────────────────────────────────────────────────────────────


def score_tabular(task, train, test):
    inputs = [inputs_of(task, part) for part in (train, test)]
    target, truth = train[task.target].astype(str), test[task.target].astype(str)
    scores = {}
    for name, model in {"LR": linear(inputs[0]), "GBDT": boosted(inputs[0])}.items():
        model.fit(inputs[0], target)
        scores[name] = classification(task, truth, model.predict_proba(inputs[1]), model.classes_)
    return scores


def score_regression(task, train, test):
    inputs = [inputs_of(task, part) for part in (train, test)]
    target, truth = train[task.target], test[task.target]
    model = HistGradientBoostingRegressor(random_state=0)
    model.fit(align(inputs[0], inputs[0]), numpy.log1p(target))
    days = numpy.expm1(model.predict(align(inputs[1], inputs[0])))
    always = numpy.full(len(truth), target.median())
    answers = {"GBDT on log1p": days, "train median": always}
    return {name: {"mae": metrics.mean_absolute_error(truth, answer)} for name, answer in answers.items()}


def score_text(task, train, test):
    model = make_pipeline(tfidf(), LogisticRegression(max_iter=1000))
    model.fit(train["text"], train[task.target].astype(str))
    truth = test[task.target].astype(str)
    return {"TF-IDF + LR": classification(task, truth, model.predict_proba(test["text"]), model.classes_)}


def score_multilabel(task, train, test):
    labels = MultiLabelBinarizer()
    target = labels.fit_transform(train[task.target].str.split("|"))
    truth = labels.transform(test[task.target].str.split("|"))
    one = LogisticRegression(max_iter=1000, class_weight="balanced")
    model = make_pipeline(tfidf(), OneVsRestClassifier(one))
    model.fit(train["text"], target)
    shares = model.predict_proba(test["text"])
    answer = shares >= 0.5
    return {
        "TF-IDF + OvR LR": {
            "macro_f1": metrics.f1_score(truth, answer, average="macro"),
            "micro_f1": metrics.f1_score(truth, answer, average="micro"),
            "roc_auc": metrics.roc_auc_score(truth, shares, average="macro"),
        }
    }


def score_kmeans(task, train, test):
    near, far = scaled(task, train, test)
    model = KMeans(n_clusters=5, n_init=10, random_state=0).fit(near)
    score = {
        "silhouette": metrics.silhouette_score(far, model.predict(far)),
        "inertia": -model.score(far),
    }
    return {"KMeans k=5": score}


def score_mixture(task, train, test):
    near, far = scaled(task, train, test)
    model = GaussianMixture(5, covariance_type="full", random_state=0).fit(near)
    score = {
        "mean_log_likelihood": model.score(far),
        "silhouette": metrics.silhouette_score(far, model.predict(far)),
    }
    return {"GaussianMixture k=5": score}


def classification(task, truth, shares, classes):
    answer = classes[shares.argmax(axis=1)]
    score = {
        "accuracy": metrics.accuracy_score(truth, answer),
        "macro_f1": metrics.f1_score(truth, answer, average="macro"),
        "log_loss": metrics.log_loss(truth, shares, labels=classes),
    }
    if len(classes) == 2:
        is_positive = truth == classes[1]
        score["roc_auc"] = metrics.roc_auc_score(is_positive, shares[:, 1])
        score["pr_auc"] = metrics.average_precision_score(is_positive, shares[:, 1])
    return score


SCORERS = {
    "binary": score_tabular,
    "multiclass": score_tabular,
    "regression": score_regression,
    "text": score_text,
    "multilabel": score_multilabel,
    "kmeans": score_kmeans,
    "mixture": score_mixture,
}


def inputs_of(task, frame):
    inputs = frame.drop(columns=[task.target, *task.identifiers])
    inputs = inputs.drop(columns=[task.group] if task.group in inputs.columns else [])
    for name in inputs.select_dtypes(exclude="number"):
        inputs[name] = inputs[name].astype("category")
    return inputs


def linear(inputs):
    numbers = list(inputs.select_dtypes("number"))
    categories = [name for name in inputs.columns if name not in numbers]
    fill = SimpleImputer(strategy="median", add_indicator=True)
    columns = ColumnTransformer(
        [
            ("numbers", make_pipeline(fill, StandardScaler()), numbers),
            ("categories", OneHotEncoder(handle_unknown="ignore"), categories),
        ]
    )
    return make_pipeline(columns, LogisticRegression(max_iter=1000))


def boosted(inputs):
    return Aligned(HistGradientBoostingClassifier(random_state=0), inputs)


class Aligned:
    """A model whose inputs get the categories of training; others become missing."""

    def __init__(self, model, inputs):
        self.model, self.inputs = model, inputs

    def fit(self, inputs, target):
        self.model.fit(inputs, target)
        self.classes_ = self.model.classes_

    def predict_proba(self, inputs):
        return self.model.predict_proba(align(inputs, self.inputs))


def align(inputs, like):
    inputs = inputs.copy()
    for name in like.select_dtypes("category"):
        inputs[name] = inputs[name].cat.set_categories(like[name].cat.categories)
    return inputs


def tfidf():
    return TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)


def scaled(task, train, test):
    pipeline = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    return pipeline.fit_transform(train[task.features]), pipeline.transform(test[task.features])


# ── data sets ─────────────────────────────────────────────────────────────────────────────────────


def read_csv(name="train.csv", **options):
    return lambda folder: pandas.read_csv(folder / name, **options)


def read_petitions(folder):
    frame = pandas.read_csv(folder / "train.csv", dtype={"region": str, "naics_sector": str})
    return with_filing_month(frame)


def with_filing_month(frame):
    frame["filing_month"] = frame["date_filed"].str[5:7].astype(float)
    return frame


def read_current_disorder(folder):
    frame = pandas.read_csv(folder / "train.csv")
    return frame[frame["label_current_disorder"] != "Maybe"]


def read_cssrs(folder):
    frame = pandas.read_json(folder / "train.jsonl", lines=True)
    frame["text"] = frame["posts"].map("\n".join)
    frame["at_risk"] = numpy.where(frame["risk_level"] >= 2, "yes", "no")
    return frame


def read_series(key, names):
    """The labels with each of `names` laid out as seven columns, one a step."""

    def read(folder):
        series = pandas.read_csv(folder / "series.csv")
        wide = series.pivot(index=key, columns="step", values=names)
        wide.columns = [f"{name}_{step}" for name, step in wide.columns]
        return pandas.read_csv(folder / "labels.csv").merge(wide.reset_index(), on=key)

    return read


def steps(names):
    return [f"{name}_{step}" for name in names for step in range(1, 8)]


def numbered(stem, count):
    return [f"{stem}_{index}" for index in range(1, count + 1)]


BINARY = ("roc_auc", "pr_auc", "log_loss")
MULTICLASS = ("macro_f1", "accuracy", "log_loss")
WORKER = [
    *["gender", "age", "partnered", "full_time", "education", "income_band_nok", "sector"],
    *["line_of_business", "leader_role", *numbered("asrs", 18), *numbered("bwas", 7)],
]
OSMI = [
    *["q01_benefits", "q02_know_options", "q03_formal_discussion", "q04_resources", "q05_anonymity"],
    *["q06_leave_ease", "q07_comfort_coworkers", "q08_comfort_supervisor", "q09_prev_benefits"],
    *["q10_prev_know_options", "q11_prev_formal_discussion", "q12_prev_resources"],
    *["q13_prev_anonymity", "q14_prev_willing_coworkers", "q15_prev_willing_supervisor"],
    *["q16_interview_physical", "q17_interview_mental", "q18_unsupportive_response"],
    *["q19_others_made_less_likely", "q20_share_friends", "age", "gender", "company_size"],
    *["tech_company", "family_history", "self_employed"],
]
HEART = [
    *["age", "sex", "cp", "trestbps", "chol", "fbs", "restecg", "thalach", "exang", "oldpeak"],
    *["slope", "ca", "thal"],
]
NHANES_OUT = ["person_id", "WTMEC2YR", "SurveyYr", "Diabetes"]
BODY = ["Age", "BMI", "Pulse", "BPSysAve", "BPDiaAve", "DirectChol", "TotChol", "SleepHrsNight"]
PETITION = [
    *["case_type", "region", "naics_sector", "num_employees_requested", "union_family"],
    *["has_intervenor", "filing_month"],
]
ELECTION = [
    *["case_type", "region", "state", "naics_sector", "unit_type", "union_family", "multi_union"],
    *["num_eligible", "filing_month"],
]
ICU = ["hr", "sbp", "temp", "gcs"]
COVID = ["ldh", "hs_crp", "lymphocyte_pct", "platelet"]


def nhanes(folder):
    frame = pandas.read_csv(folder / "train.csv")
    kept = [name for name in frame.columns if name not in NHANES_OUT]
    return frame[["person_id", *kept, "Diabetes"]]


def diabetes(label):
    def read(folder):
        frame = pandas.read_csv(folder / "train.csv.gz")
        frame["readmitted"] = numpy.where(frame["readmitted"] == "NO", "no", "yes")
        others = {"label_readmit_30d", "readmitted"} - {label}
        return frame.drop(columns=["diag_1", "diag_2", "diag_3", *others])

    return read


def text_task(folder, target, read=None, kind="text", measured=MULTICLASS, identifiers=()):
    return Task(
        folder, kind, read or read_csv(), target, ["text"], list(identifiers), metrics=measured
    )


TASKS = {
    "workaholism_anxiety": Task(
        "workaholism_workers", "binary", read_csv(), "label_anxiety", WORKER, ["respondent_id"], metrics=BINARY
    ),
    "workaholism_depression": Task(
        "workaholism_workers", "binary", read_csv(), "label_depression", WORKER, ["respondent_id"], metrics=BINARY
    ),
    "osmi_current_disorder": Task(
        "osmi_tech_survey", "binary", read_current_disorder, "label_current_disorder", OSMI, ["respondent_id"],
        metrics=BINARY,
    ),
    "osmi_sought_treatment": Task(
        "osmi_tech_survey", "binary", read_csv(), "label_sought_treatment", OSMI, ["respondent_id"], metrics=BINARY
    ),
    "heart_disease": Task(
        "heart_disease_uci", "binary", read_csv(), "label_disease", HEART, ["patient_id"], metrics=BINARY
    ),
    "nhanes_diabetes": Task(
        "nhanes_adults", "binary", nhanes, "Diabetes", [], ["person_id"], metrics=BINARY
    ),
    "nhanes_segments": Task(
        "nhanes_adults", "kmeans", read_csv(), None, BODY, ["person_id"], metrics=("silhouette", "inertia")
    ),
    "nhanes_mixture": Task(
        "nhanes_adults", "mixture", read_csv(), None, BODY, ["person_id"],
        # Its silhouette judges nothing: these people have no natural segments (k-means itself gives 0.12 to 0.13 for any
        # k), and a better fit of overlapping Gaussians may well have a worse one.
        metrics=("mean_log_likelihood",),
    ),
    "diabetes130_readmit_30d": Task(
        "diabetes_130us", "binary", diabetes("label_readmit_30d"), "label_readmit_30d", [], ["patient_id"],
        metrics=BINARY,
    ),
    "diabetes130_readmitted": Task(
        "diabetes_130us", "binary", diabetes("readmitted"), "readmitted", [], ["patient_id"], metrics=BINARY
    ),
    "nlrb_petitions_outcome": Task(
        "nlrb_petitions", "multiclass", read_petitions, "label_outcome", PETITION, ["case_number"],
        metrics=MULTICLASS,
    ),
    "nlrb_petitions_days": Task(
        "nlrb_petitions", "regression", read_petitions, "label_days_to_close", PETITION, ["case_number"],
        metrics=("mae",),
    ),
    "nlrb_elections_won": Task(
        "nlrb_elections", "binary", read_petitions, "label_union_won", ELECTION, ["case_number"], metrics=BINARY
    ),
    "nlrb_elections_days": Task(
        "nlrb_elections", "regression", read_petitions, "label_days_to_election", ELECTION, ["case_number"],
        metrics=("mae",),
    ),
    "telco_churn": Task(
        "telco_churn", "binary", read_csv(), "label_churn", [], ["customerID"], metrics=BINARY
    ),
    "icu_dies_3d": Task(
        "icu_physionet2012", "binary", read_series("record_id", ICU), "label_dies_3d_after_window", steps(ICU),
        ["record_id"], metrics=BINARY,
    ),
    "icu_in_hospital_death": Task(
        "icu_physionet2012", "binary", read_series("record_id", ICU), "label_in_hospital_death", steps(ICU),
        ["record_id"], metrics=BINARY,
    ),
    "covid_dies_3d": Task(
        "covid19_wuhan_labs", "binary", read_series("sample_id", COVID), "label_dies_3d", steps(COVID),
        ["sample_id"], "patient_id", BINARY,
    ),
    "clinc150_intent": text_task("clinc150", "intent"),
    "cssrs_level": text_task("cssrs_reddit", "label", read_cssrs, identifiers=["user_id"]),
    "cssrs_at_risk": text_task("cssrs_reddit", "at_risk", read_cssrs, measured=BINARY, identifiers=["user_id"]),
    "goemotions_ekman": text_task(
        "goemotions", "ekman", kind="multilabel", measured=("macro_f1", "micro_f1", "roc_auc")
    ),
    "goemotions_labels": text_task(
        "goemotions", "labels", kind="multilabel", measured=("macro_f1", "micro_f1", "roc_auc")
    ),
}


if __name__ == "__main__":
    main()
