"""Neural nets as ONNX files, imported and asked by the real binary, beside onnxruntime."""

import json

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
from conftest import ombud
from foreign import answers, imported, record
from onnx import TensorProto, helper, numpy_helper

TOLERANCE = 1e-5
STEPS, WIDTH, HIDDEN, CLASSES = 12, 3, 8, 3


def graph(nodes, inputs, outputs, weights):
    tensor = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    made = helper.make_graph(
        nodes,
        "net",
        [tensor(name, ["N", *shape]) for name, shape in inputs.items()],
        [tensor(name, ["N", *shape]) for name, shape in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def noise(*shape, seed=3):
    return np.random.default_rng(seed + sum(shape)).normal(0, 0.6, shape).astype(np.float32)


def lstm():
    """Steps of measurements through an LSTM, its last state through a softmax."""
    node = helper.make_node
    nodes = [
        node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        node("LSTM", ["t", "w", "r", "b"], ["", "last"], hidden_size=HIDDEN),
        node("Squeeze", ["last", "axis"], ["state"]),
        node("Gemm", ["state", "head", "bias"], ["logits"]),
        node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    weights = {
        "w": noise(1, 4 * HIDDEN, WIDTH),
        "r": noise(1, 4 * HIDDEN, HIDDEN),
        "b": noise(1, 8 * HIDDEN),
        "axis": np.array([0]),
        "head": noise(HIDDEN, CLASSES),
        "bias": noise(CLASSES),
    }
    return graph(nodes, {"x": [STEPS, WIDTH]}, {"probabilities": [CLASSES]}, weights)


def gru():
    """One number from a GRU in both directions."""
    node = helper.make_node
    nodes = [
        node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        node("GRU", ["t", "w", "r", "b"], ["", "last"], hidden_size=HIDDEN, direction="bidirectional", linear_before_reset=1),
        node("Transpose", ["last"], ["rows"], perm=[1, 0, 2]),
        node("Reshape", ["rows", "flat"], ["state"]),
        node("Gemm", ["state", "head"], ["value"]),
    ]
    weights = {
        "w": noise(2, 3 * HIDDEN, WIDTH),
        "r": noise(2, 3 * HIDDEN, HIDDEN),
        "b": noise(2, 6 * HIDDEN),
        "flat": np.array([-1, 2 * HIDDEN]),
        "head": noise(2 * HIDDEN, 1),
    }
    return graph(nodes, {"x": [STEPS, WIDTH]}, {"value": [1]}, weights)


def convolution():
    """Channels of a signal through convolutions, normalized and pooled."""
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "c1"], ["a"], kernel_shape=[3], pads=[1, 1]),
        node("BatchNormalization", ["a", "g", "o", "m", "v"], ["n"]),
        node("Relu", ["n"], ["h"]),
        node("MaxPool", ["h"], ["p"], kernel_shape=[2], strides=[2]),
        node("Conv", ["p", "c2"], ["q"], kernel_shape=[3]),
        node("GlobalAveragePool", ["q"], ["s"]),
        node("Flatten", ["s"], ["f"]),
        node("LeakyRelu", ["f"], ["e"], alpha=0.2),
        node("Gemm", ["e", "head"], ["logits"]),
        node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    weights = {
        "c1": noise(6, WIDTH, 3),
        "g": noise(6) + 1,
        "o": noise(6),
        "m": noise(6),
        "v": np.abs(noise(6)) + 0.5,
        "c2": noise(5, 6, 3),
        "head": noise(5, CLASSES),
    }
    return graph(nodes, {"x": [WIDTH, STEPS]}, {"probabilities": [CLASSES]}, weights)


NETS = {"LSTM": lstm, "GRU, both directions": gru, "convolutions": convolution}


@pytest.mark.parametrize("name", NETS)
def test_a_net_answers_here_as_in_onnxruntime(name, tmp_path):
    proto = NETS[name]()
    path = tmp_path / "net.onnx"
    path.write_bytes(proto)
    bundle = imported("onnx", path, tmp_path)
    rows = np.random.default_rng(5).normal(0, 1, (700, STEPS * WIDTH)).astype(np.float32)
    table = pd.DataFrame(rows.astype(np.float64), columns=[f"f{place}" for place in range(rows.shape[1])])
    session = onnxruntime.InferenceSession(proto, providers=["CPUExecutionProvider"])
    shape = [-1, *session.get_inputs()[0].shape[1:]]
    [wanted] = session.run(None, {"x": rows.reshape(shape)})
    found = answers(bundle, table, tmp_path)
    if wanted.shape[1] == 1:
        ours = found[["prediction"]].to_numpy(float)
        labels = None
    else:
        ours = found[[f"p_{k}" for k in range(CLASSES)]].to_numpy(float)
        labels = (found["prediction"].astype(int) == wanted.argmax(1)).mean()
    record(f"net: {name}", len(rows), labels, np.abs(ours - wanted).max())
    assert labels in (None, 1.0) and np.abs(ours - wanted).max() <= TOLERANCE


def test_series_of_a_schema_feed_a_net(tmp_path):
    proto = lstm()
    path, schema = tmp_path / "net.onnx", tmp_path / "schema.json"
    path.write_bytes(proto)
    series = {"name": "vitals", "type": "sequence", "steps": STEPS * WIDTH}
    schema.write_text(json.dumps({"features": [series], "levels": ["calm", "watch", "call"]}))
    bundle = imported("onnx", path, tmp_path, "--schema", schema)
    rows = np.random.default_rng(6).normal(0, 1, (40, STEPS * WIDTH))
    found = answers(bundle, pd.DataFrame({"vitals": list(rows)}), tmp_path)
    session = onnxruntime.InferenceSession(proto, providers=["CPUExecutionProvider"])
    [wanted] = session.run(None, {"x": rows.astype(np.float32).reshape(-1, STEPS, WIDTH)})
    names = np.array(["calm", "watch", "call"])
    assert (found["prediction"] == names[wanted.argmax(1)]).all()


def refused(proto, tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(proto)
    done = ombud("import", "onnx", path, "--name", "net", "--out", tmp_path / "models", check=False)
    assert done.returncode == 2 and not (tmp_path / "models").exists()
    return done.stderr


def test_what_cannot_be_bounded_is_refused(tmp_path):
    node = helper.make_node
    growing = [node("Relu", ["x"], ["y0"]), node("LeakyRelu", ["x"], ["z"])]
    growing += [node("Concat", [f"y{k}", f"y{k}"], [f"y{k + 1}"], axis=1) for k in range(40)]
    growing += [node("ReduceSum", ["y40", "axis"], ["s"])]
    proto = graph(growing, {"x": [4]}, {"s": [1]}, {"axis": np.array([1])})
    assert "more than the" in refused(proto, tmp_path)
    constants = [node("LeakyRelu", ["x"], ["z"]), node("MatMul", ["a", "b"], ["c0"])]
    constants += [node("Concat", [f"c{k}", f"c{k}"], [f"c{k + 1}"], axis=0) for k in range(12)]
    constants += [node("ReduceMax", ["c12"], ["m"], keepdims=0), node("Add", ["z", "m"], ["s"])]
    weights = {"a": noise(500, 1), "b": noise(1, 500)}
    assert "from constants" in refused(graph(constants, {"x": [4]}, {"s": [4]}, weights), tmp_path)
    loose = helper.make_graph(
        [node("Elu", ["x"], ["y"])],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", "T"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", "T"])],
    )
    model = helper.make_model(loose, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    assert "fixed sizes" in refused(model.SerializeToString(), tmp_path)


def test_an_operator_of_no_engine_here_is_named(tmp_path):
    body = helper.make_node("NonMaxSuppression", ["x", "x"], ["y"])
    made = helper.make_graph(
        [helper.make_node("Elu", ["x"], ["z"]), body],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.INT64, [None, 3])],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    told = refused(model.SerializeToString(), tmp_path)
    assert "NonMaxSuppression" in told and "Elu" not in told
