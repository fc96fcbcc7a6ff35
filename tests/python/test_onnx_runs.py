"""Real estimators as ONNX files, run by our evaluator and by onnxruntime, on whole data sets."""

import os

import onnx_cases
import pytest

pytestmark = pytest.mark.filterwarnings("ignore")  # of the estimators, about their own fit
RUN_ONNX = os.environ["OMBUD_RUN_ONNX"]
# What the converters themselves refuse at the pinned versions; who can be converted again comes off this list.
NOT_CONVERTED = {"RadiusNeighborsRegressor"}
CASES = {case[0]: case for case in onnx_cases.cases()}


@pytest.fixture(scope="module")
def data():
    return onnx_cases.tables() | {"mixed": None, "texts": None}


@pytest.mark.parametrize("name", CASES)
def test_an_estimator_answers_here_as_in_onnxruntime(name, data, tmp_path):
    case = CASES[name]
    try:
        proto, inputs = onnx_cases.convert(case, data, tmp_path)
        wanted = onnx_cases.expected(proto, inputs)
    except Exception as error:  # a converter that cannot is no failure of ours, and is listed
        assert name in NOT_CONVERTED, error
        return
    assert name not in NOT_CONVERTED
    found = onnx_cases.ours(RUN_ONNX, proto, inputs, tmp_path)
    share, worst = onnx_cases.compare(wanted, found)
    if worst <= onnx_cases.TOLERANCE and share in (None, 1.0):
        return
    assert case[3].startswith("skl"), (share, worst)
    near, far = onnx_cases.distances(case[2], inputs, wanted, found)
    assert near <= far, (near, far)
    assert onnx_cases.has_its_labels(case[2], inputs, wanted, found)


def test_enough_different_estimators_are_compared():
    names = {type(step).__name__ for case in CASES.values() if case[2] is not None for _, step in getattr(case[2], "steps", [("", case[2])])}
    assert len(names) >= 60
    assert {"XGBClassifier", "LGBMClassifier", "CatBoostClassifier"} <= names
