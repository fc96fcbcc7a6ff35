"""A forest in Triton's Python back end, as its examples write one: the requests of a dynamic batch in one call."""

import os

import numpy
import triton_python_backend_utils as triton
import xgboost


class TritonPythonModel:
    def initialize(self, _):
        self.booster = xgboost.Booster(params={"nthread": 1}, model_file=os.environ["MODEL"])

    def execute(self, requests):
        inputs = [triton.get_input_tensor_by_name(request, "x").as_numpy() for request in requests]
        answers = self.booster.inplace_predict(numpy.concatenate(inputs)).astype(numpy.float32)
        ends = numpy.cumsum([len(rows) for rows in inputs])[:-1]
        return [
            triton.InferenceResponse([triton.Tensor("predict", scores)])
            for scores in numpy.split(answers, ends)
        ]
