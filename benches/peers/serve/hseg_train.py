"""Trains what `hseg_app.py` serves, from the tables that `ombud kit hseg train --keep` leaves.

The same data and the same kinds of model: words weighted by rarity with logistic regression, boosted trees.
"""

import json
import sys
from pathlib import Path

import joblib
import pandas
import xgboost
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import MultiLabelBinarizer

TIERS = ["Crisis", "At_Risk", "Mixed", "Safe", "Thriving"]

tables, models, out = map(Path, sys.argv[1:4])
out.mkdir(parents=True, exist_ok=True)

texts = pandas.read_parquet(tables / "texts.parquet")
words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
seen = words.fit_transform(texts["text"])
risk = LogisticRegression(max_iter=300).fit(seen, texts["text_risk"])
labels = MultiLabelBinarizer()
signals = OneVsRestClassifier(LogisticRegression(max_iter=300)).fit(
    seen, labels.fit_transform(texts["text_signals"].fillna("").map(lambda it: [word for word in it.split("|") if word]))
)

people = pandas.read_parquet(tables / "individuals.parquet")
target = people.pop("follow_up_tier").map(TIERS.index)
people = people.drop(columns=["response_id", "organization"])
levels = {name: sorted(people[name].dropna().unique()) for name in people.select_dtypes(exclude="number")}
for name, words_of in levels.items():
    people[name] = people[name].map({word: place for place, word in enumerate(words_of)}).astype("float")
forest = xgboost.Booster(model_file=next((models / "hseg-individual").glob("*/model.ubj")))
rounds = forest.num_boosted_rounds()
settings = {"objective": "multi:softprob", "num_class": 5, "max_depth": 5, "eta": 0.08, "subsample": 0.8, "colsample_bytree": 0.6}
booster = xgboost.train(settings, xgboost.DMatrix(people, target), rounds)

booster.save_model(out / "forest.ubj")
joblib.dump((words, risk, signals), out / "text.joblib")
(out / "shape.json").write_text(
    json.dumps({"columns": list(people.columns), "levels": levels, "signals": list(labels.classes_), "tiers": TIERS})
)
print(f"{rounds} rounds, {len(words.vocabulary_)} words")
