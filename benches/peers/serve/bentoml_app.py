"""BentoML + XGBoost: the same question and answer as `fastapi_app.py`, without an audit."""

import os

import bentoml
import numpy
import xgboost

FEATURES = [f"x{number:02}" for number in range(1, 29)]


@bentoml.service(workers=2)
class Bench:
    def __init__(self):
        self.booster = xgboost.Booster(params={"nthread": 1}, model_file=os.environ["MODEL"])

    @bentoml.api
    def predict(self, input: dict[str, float]) -> dict:
        row = numpy.array([[input.get(name, numpy.nan) for name in FEATURES]], dtype=numpy.float32)
        probabilities = [float(value) for value in self.booster.inplace_predict(row)[0]]
        prediction = max(range(len(probabilities)), key=probabilities.__getitem__)
        return {"prediction": str(prediction), "probabilities": probabilities}
