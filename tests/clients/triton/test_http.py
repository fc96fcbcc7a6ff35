"""tritonclient over HTTP, with the defaults that people use it with."""

import json

import numpy as np
import pytest
import requests
import tritonclient.http as client
from house import CLAIMS, NUMBERS, SEGMENTS, rows
from tritonclient.utils import InferenceServerException


@pytest.fixture
def triton(house):
    with client.InferenceServerClient(house.address) as opened:
        yield opened


def texts(name, values, binary=True):
    tensor = client.InferInput(name, [len(values), 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[value.encode()] for value in values], dtype=object), binary_data=binary)
    return tensor


def numbers(name, values, binary=True):
    tensor = client.InferInput(name, [len(values), 1], "FP64")
    tensor.set_data_from_numpy(np.array([[float(value)] for value in values], dtype=np.float64), binary_data=binary)
    return tensor


def claims(count, binary=True):
    """One tensor per feature, of the kind that the metadata names."""
    data = rows("claims", count)
    whole = ["tenure_years", "prior_claims", "witnesses", "days_since_event", "open_cases"]
    words = ["department", "claim_type", "severity", "description"]
    inputs = [numbers(name, [row[name] for row in data], binary) for name in whole]
    return inputs + [texts(name, [row[name] for row in data], binary) for name in words]


def matrix(count, binary=True):
    data = [[float(row[name]) if row[name] else np.nan for name in NUMBERS] for row in rows("segments", count)]
    tensor = client.InferInput("input", [count, len(NUMBERS)], "FP32")
    tensor.set_data_from_numpy(np.array(data, dtype=np.float32), binary_data=binary)
    return tensor


def decided(house, input_):
    answer = requests.post(f"{house.url}/api/v1/models/{CLAIMS}/decide", json={"input": input_}, headers=house.headers())
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_server_and_its_models_are_described(triton, house):
    assert triton.is_server_live()
    assert triton.is_server_ready()
    assert triton.is_model_ready(CLAIMS, headers=house.headers())
    assert not triton.is_model_ready("nothing", headers=house.headers())
    server = triton.get_server_metadata()
    assert server["name"] == "ombud" and "binary_tensor_data" in server["extensions"]
    mixed = triton.get_model_metadata(CLAIMS, headers=house.headers())
    kinds = {slot["name"]: slot["datatype"] for slot in mixed["inputs"]}
    assert kinds["tenure_years"] == "FP64" and kinds["department"] == "BYTES" and kinds["description"] == "BYTES"
    assert [slot["name"] for slot in mixed["outputs"]] == ["label", "probabilities", "decision_id"]
    plain = triton.get_model_metadata(SEGMENTS, "1", headers=house.headers())
    assert plain["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [-1, len(NUMBERS)]}]
    assert json.loads(plain["properties"]["features"]) == NUMBERS
    config = triton.get_model_config(SEGMENTS, headers=house.headers())
    assert config["max_batch_size"] == 1000 and config["input"][0]["data_type"] == "TYPE_FP32"


def test_no_outputs_listed_gives_all_of_them_in_binary(triton, house):
    answer = triton.infer(CLAIMS, claims(3), request_id="seven", headers=house.headers())
    told = answer.get_response()
    assert told["id"] == "seven" and told["model_name"] == CLAIMS and told["model_version"] == "1"
    assert all("binary_data_size" in output["parameters"] for output in told["outputs"])
    labels, scores, ids = (answer.as_numpy(name) for name in ("label", "probabilities", "decision_id"))
    assert labels.shape == (3, 1) and ids.shape == (3, 1)
    np.testing.assert_allclose(scores.sum(axis=1), 1.0, atol=1e-9)
    classes = json.loads(triton.get_model_metadata(CLAIMS, headers=house.headers())["properties"]["classes"])
    for row in range(3):
        assert labels[row, 0].decode() == classes[int(scores[row].argmax())]


def test_the_answer_is_the_one_of_our_own_door_and_is_on_record(triton, house):
    given = rows("claims", 1)[0]
    input_ = {name: given[name] for name in ("department", "claim_type", "severity", "description")}
    for name in ("tenure_years", "prior_claims", "witnesses", "days_since_event", "open_cases"):
        input_[name] = float(given[name])
    ours = decided(house, input_)
    theirs = triton.infer(CLAIMS, claims(1), headers=house.headers())
    assert theirs.as_numpy("label")[0, 0].decode() == ours["prediction"]
    assert sorted(theirs.as_numpy("probabilities")[0]) == sorted(ours["probabilities"].values())
    decision = theirs.as_numpy("decision_id")[0, 0].decode()
    record = requests.get(f"{house.url}/api/v1/audit/records/{decision}", headers=house.headers("auditor"))
    assert record.status_code == 200 and record.json()["model"] == CLAIMS, record.text


def test_json_and_binary_mix_in_inputs_and_outputs(triton, house):
    inputs = [*claims(2, binary=False)[:4], *claims(2)[4:]]
    outputs = [client.InferRequestedOutput("probabilities", binary_data=False), client.InferRequestedOutput("label")]
    answer = triton.infer(CLAIMS, inputs, outputs=outputs, headers=house.headers())
    told = answer.get_response()["outputs"]
    assert [output["name"] for output in told] == ["probabilities", "label"]
    assert "data" in told[0] and "data" not in told[1]
    whole = triton.infer(CLAIMS, claims(2), headers=house.headers())
    np.testing.assert_array_equal(answer.as_numpy("probabilities"), whole.as_numpy("probabilities"))
    np.testing.assert_array_equal(answer.as_numpy("label"), whole.as_numpy("label"))


def test_a_matrix_answers_the_same_as_json_and_as_binary(triton, house):
    binary = triton.infer(SEGMENTS, [matrix(5)], headers=house.headers())
    json_ = triton.infer(SEGMENTS, [matrix(5, binary=False)], headers=house.headers())
    np.testing.assert_array_equal(binary.as_numpy("label"), json_.as_numpy("label"))
    np.testing.assert_array_equal(binary.as_numpy("probabilities"), json_.as_numpy("probabilities"))


def test_a_body_that_is_nothing_but_a_tensor(house):
    data = np.array([[float(row[name] or "nan") for name in NUMBERS] for row in rows("segments", 2)], dtype=np.float32)
    headers = {**house.headers(), "inference-header-content-length": "0", "content-type": "application/octet-stream"}
    answer = requests.post(f"{house.url}/v2/models/{SEGMENTS}/infer", data=data.tobytes(), headers=headers)
    assert answer.status_code == 200, answer.text
    length = int(answer.headers["inference-header-content-length"])
    told = json.loads(answer.content[:length])
    assert told["outputs"][0]["shape"] == [2, 1]
    assert all("binary_data_size" in output["parameters"] for output in told["outputs"])


def test_classes_are_given_best_first(triton, house):
    outputs = [client.InferRequestedOutput("probabilities", class_count=2)]
    answer = triton.infer(CLAIMS, claims(2), outputs=outputs, headers=house.headers()).as_numpy("probabilities")
    assert answer.shape == (2, 2)
    for row in answer:
        (first, _, best), (second, _, _) = (text.decode().split(":") for text in row)
        assert float(first) >= float(second) and best


@pytest.mark.parametrize("packing", ["gzip", "deflate"])
def test_bodies_are_packed_both_ways(triton, house, packing):
    answer = triton.infer(
        CLAIMS, claims(50), headers=house.headers(),
        request_compression_algorithm=packing, response_compression_algorithm=packing,
    )
    assert answer.as_numpy("label").shape == (50, 1)


def test_calls_that_do_not_wait(triton, house):
    waiting = [triton.async_infer(CLAIMS, claims(1), headers=house.headers()) for _ in range(4)]
    ids = {call.get_result().as_numpy("decision_id")[0, 0] for call in waiting}
    assert len(ids) == 4


def test_a_row_at_fault_is_named_and_nobody_of_the_batch_is_answered(triton, house):
    inputs = claims(3)
    inputs[-2] = texts("severity", ["low", "lowest", "high"])
    with pytest.raises(InferenceServerException) as refused:
        triton.infer(CLAIMS, inputs, headers=house.headers())
    assert refused.value.status() == "400"
    assert "row 1" in refused.value.message() and "severity" in refused.value.message()


def test_refusals_are_told_in_the_protocol_s_words(triton, house):
    for model, inputs, headers, status in [
        (CLAIMS, claims(1), {}, "401"),
        (CLAIMS, claims(1), house.headers("viewer"), "403"),
        ("nothing", claims(1), house.headers(), "404"),
        (CLAIMS, [numbers("tenure_yaers", [1])], house.headers(), "400"),
    ]:
        with pytest.raises(InferenceServerException) as refused:
            triton.infer(model, inputs, headers=headers)
        assert refused.value.status() == status, refused.value
    answer = requests.post(f"{house.url}/v2/models/{CLAIMS}", headers=house.headers())
    assert answer.status_code == 405 and set(answer.json()) == {"error"}


def test_a_version_is_asked_by_its_number(triton, house):
    answer = triton.infer(CLAIMS, claims(1), model_version="1", headers=house.headers())
    assert answer.get_response()["model_version"] == "1"
    with pytest.raises(InferenceServerException) as refused:
        triton.infer(CLAIMS, claims(1), model_version="9", headers=house.headers())
    assert refused.value.status() == "404"


def test_a_retry_under_a_key_gets_the_first_decision(triton, house):
    ask = lambda: triton.infer(CLAIMS, claims(1), headers={**house.headers(), "idempotency-key": "once"})  # noqa: E731
    assert ask().as_numpy("decision_id")[0, 0] == ask().as_numpy("decision_id")[0, 0]


def test_a_row_by_name_is_generated_about(house):
    row = claim()
    ask = lambda door, body: requests.post(f"{house.url}/v2/models/{CLAIMS}/{door}", json=body, headers=house.headers())  # noqa: E731
    whole = ask("generate", {"id": "7", **row, "subject": "4711", "parameters": {"environment": "production"}})
    assert whole.status_code == 200, whole.text
    told = whole.json()
    assert told["id"] == "7" and told["model_version"] == "1" and len(told["probabilities"]) > 1
    own = decided(house, row)
    assert (own["prediction"], own["confidence"]) == (told["label"], max(told["probabilities"]))
    kept = requests.get(f"{house.url}/api/v1/audit/records/{told['decision_id']}", headers=house.headers("auditor"))
    assert kept.status_code == 200 and kept.json()["model"] == CLAIMS, kept.text
    stream = ask("versions/1/generate_stream", row)
    assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
    (event,) = events(stream)
    same = ["label", "probabilities", "model_name"]
    assert [event[name] for name in same] == [told[name] for name in same]
    for wrong, field in [({**row, "tenure_yaers": 1}, "tenure_years"), ({**row, "severity": "lowest"}, "severity")]:
        refused = ask("generate_stream", wrong)
        assert refused.status_code == 400 and field in refused.json()["error"], refused.text
    wide = requests.post(f"{house.url}/v2/models/{SEGMENTS}/generate", json={"input": [1.0] * len(NUMBERS)}, headers=house.headers())
    assert wide.status_code == 200 and wide.json()["label"], wide.text


def claim():
    (row,) = rows("claims", 1)
    names = ["department", "claim_type", "severity", "description"]
    whole = ["tenure_years", "prior_claims", "witnesses", "days_since_event", "open_cases"]
    return {**{name: row[name] for name in names}, **{name: float(row[name]) for name in whole}}


def events(answer):
    """The data of each server-sent event."""
    lines = [block.removeprefix("data: ") for block in answer.text.split("\n\n") if block]
    return [json.loads(line) for line in lines]


def test_the_repository_lists_unloads_and_loads_what_was_approved(triton, house):
    before = {(line["name"], line["version"]): line["state"] for line in triton.get_model_repository_index(headers=house.headers())}
    assert before[SEGMENTS, "1"] == "READY"
    triton.unload_model(SEGMENTS, headers=house.headers())
    assert not triton.is_model_ready(SEGMENTS, headers=house.headers())
    after = {(line["name"], line["version"]): line for line in triton.get_model_repository_index(headers=house.headers())}
    assert after[SEGMENTS, "1"]["state"] == "UNAVAILABLE" and after[SEGMENTS, "1"]["reason"]
    triton.load_model(SEGMENTS, headers=house.headers())
    assert triton.is_model_ready(SEGMENTS, headers=house.headers())
    triton.load_model(CLAIMS, headers=house.headers())
    with pytest.raises(InferenceServerException) as refused:
        triton.load_model(CLAIMS, headers=house.headers(), config="{}", files={"file:1/model.onnx": b"x"})
    assert refused.value.status() == "403"
    with pytest.raises(InferenceServerException) as refused:
        triton.unload_model(CLAIMS, headers=house.headers("caller"))
    assert refused.value.status() == "403"


def test_what_was_answered_is_counted(triton, house):
    count = lambda: triton.get_inference_statistics(CLAIMS, headers=house.headers())["model_stats"][0]  # noqa: E731
    before = count()
    triton.infer(CLAIMS, claims(7), headers=house.headers())
    after = count()
    assert after["inference_count"] - before["inference_count"] == 7
    assert after["execution_count"] - before["execution_count"] == 1
    assert after["inference_stats"]["success"]["count"] - before["inference_stats"]["success"]["count"] == 1
    assert after["inference_stats"]["compute_infer"]["ns"] > before["inference_stats"]["compute_infer"]["ns"]
    assert 7 in [batch["batch_size"] for batch in after["batch_stats"]]


def test_rows_beyond_the_limit_are_refused_whole(triton, house):
    with pytest.raises(InferenceServerException) as refused:
        triton.infer(SEGMENTS, [huge()], headers=house.headers())
    assert refused.value.status() == "413"


def huge():
    tensor = client.InferInput("input", [1001, len(NUMBERS)], "FP32")
    tensor.set_data_from_numpy(np.ones((1001, len(NUMBERS)), dtype=np.float32))
    return tensor


def test_scoring_as_mlflow_and_tensorflow_serving_do(house):
    given = rows("claims", 2)
    keep = ["department", "claim_type", "severity", "description"]
    whole = ["tenure_years", "prior_claims", "witnesses", "days_since_event", "open_cases"]
    records = [{**{n: row[n] for n in keep}, **{n: float(row[n]) for n in whole}} for row in given]
    split = {"columns": keep + whole, "data": [[record[name] for name in keep + whole] for record in records]}
    assert requests.get(f"{house.url}/ping").status_code == 200
    refused = requests.post(f"{house.url}/invocations", json={"dataframe_split": split}, headers=house.headers())
    assert refused.status_code == 400 and "model" in refused.json()["error"]
    by_form = []
    for body in [{"dataframe_split": split}, {"dataframe_records": records}, {"instances": records}]:
        answer = requests.post(f"{house.url}/invocations?model={CLAIMS}", json=body, headers=house.headers())
        assert answer.status_code == 200, answer.text
        by_form.append(answer.json()["predictions"])
        assert len(answer.json()["decision_ids"]) == 2
    assert by_form[0] == by_form[1] == by_form[2]
    for path in [CLAIMS, f"{CLAIMS}/versions/1", f"{CLAIMS}/labels/v1.0.0"]:
        answer = requests.post(f"{house.url}/v1/models/{path}:predict", json={"instances": records}, headers=house.headers())
        assert answer.status_code == 200, answer.text
        told = answer.json()
        best = [told["classes"][int(np.argmax(row))] for row in told["predictions"]]
        assert best == told["labels"] == by_form[0]
    status = requests.get(f"{house.url}/v1/models/{CLAIMS}", headers=house.headers()).json()
    assert status["model_version_status"][0]["state"] == "AVAILABLE"
    assert requests.post(f"{house.url}/v1/models/{CLAIMS}:classify", json={}, headers=house.headers()).status_code == 404
