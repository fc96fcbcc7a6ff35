"""FastAPI + XGBoost as a team writes it; with AUDIT_DATABASE set, a row by SQLAlchemy before each answer.

The fastest calls of each library: the booster's in-place prediction on one thread, one insert and commit in WAL mode; with
AUDIT_AS_IT_COMES set, SQLite stays in the mode that SQLAlchemy finds it in.
"""

import json
import os
import time
import uuid

import numpy
import xgboost
from fastapi import FastAPI
from pydantic import BaseModel

FEATURES = [f"x{number:02}" for number in range(1, 29)]

app = FastAPI()
booster = xgboost.Booster(params={"nthread": 1}, model_file=os.environ["MODEL"])
audit = None

if url := os.environ.get("AUDIT_DATABASE"):
    from sqlalchemy import Column, Float, MetaData, String, Table, create_engine, event, insert

    engine = create_engine(url, connect_args={"timeout": 30})

    if "AUDIT_AS_IT_COMES" not in os.environ:

        @event.listens_for(engine, "connect")
        def durable(connection, _):
            connection.execute("pragma journal_mode=wal")
            connection.execute("pragma synchronous=full")

    decisions = Table(
        "decisions", MetaData(),
        Column("id", String, primary_key=True), Column("time", Float), Column("model", String),
        Column("input", String), Column("output", String), Column("latency_ms", Float),
    )
    decisions.create(engine, checkfirst=True)

    def audit(question, answer, started):
        row = {
            "id": str(uuid.uuid4()), "time": started, "model": "bench_train", "input": json.dumps(question),
            "output": json.dumps(answer), "latency_ms": (time.time() - started) * 1e3,
        }
        with engine.begin() as connection:
            connection.execute(insert(decisions), row)


class Question(BaseModel):
    input: dict[str, float]


@app.get("/ready")
def ready():
    return {"ready": True}


@app.post("/predict")
def predict(question: Question):
    started = time.time()
    row = numpy.array([[question.input.get(name, numpy.nan) for name in FEATURES]], dtype=numpy.float32)
    probabilities = [float(value) for value in booster.inplace_predict(row)[0]]
    prediction = max(range(len(probabilities)), key=probabilities.__getitem__)
    answer = {"prediction": str(prediction), "probabilities": probabilities}
    if audit:
        audit(question.input, answer, started)
    return answer
