"""tritonclient over gRPC, on the port of HTTP and on one of its own; health and reflection beside it."""

import queue

import grpc
import numpy as np
import pytest
import requests
import tritonclient.grpc as client
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from house import CLAIMS, NUMBERS, SEGMENTS, rows
from tritonclient.utils import InferenceServerException


@pytest.fixture(params=["of http", "of its own"])
def triton(house, request):
    address = house.address if request.param == "of http" else house.grpc_address
    with client.InferenceServerClient(address) as opened:
        yield opened


def matrix(count):
    data = [[float(row[name] or "nan") for name in NUMBERS] for row in rows("segments", count)]
    tensor = client.InferInput("input", [count, len(NUMBERS)], "FP32")
    tensor.set_data_from_numpy(np.array(data, dtype=np.float32))
    return tensor


def text(name, value):
    tensor = client.InferInput(name, [1, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[value.encode()]], dtype=object))
    return tensor


def test_the_server_and_its_models_are_described(triton, house):
    headers = house.headers()
    assert triton.is_server_live() and triton.is_server_ready()
    assert triton.is_model_ready(CLAIMS, headers=headers)
    assert triton.get_server_metadata().name == "ombud"
    metadata = triton.get_model_metadata(SEGMENTS, headers=headers)
    assert list(metadata.inputs[0].shape) == [-1, len(NUMBERS)] and list(metadata.versions) == ["1"]
    config = triton.get_model_config(SEGMENTS, headers=headers, as_json=True)["config"]
    assert config["input"][0]["data_type"] == "TYPE_FP32" and config["max_batch_size"] == 1000


def test_raw_contents_are_answered_raw(triton, house):
    answer = triton.infer(SEGMENTS, [matrix(4)], request_id="nine", headers=house.headers())
    told = answer.get_response()
    assert told.id == "nine" and len(told.raw_output_contents) == len(told.outputs) == 3
    assert answer.as_numpy("label").shape == (4, 1)
    np.testing.assert_allclose(answer.as_numpy("probabilities").sum(axis=1), 1.0, atol=1e-9)


def test_text_and_packing(triton, house):
    answer = triton.infer(
        CLAIMS, [text("description", "overtime was not paid"), text("severity", "low")],
        outputs=[client.InferRequestedOutput("probabilities", class_count=1)],
        headers=house.headers(), compression_algorithm="gzip",
    )
    score, _, label = answer.as_numpy("probabilities")[0, 0].decode().split(":")
    assert 0 < float(score) <= 1 and label


def test_refusals_have_the_codes_of_grpc(triton, house):
    for model, headers, code in [
        (SEGMENTS, {}, "UNAUTHENTICATED"),
        (SEGMENTS, {"authorization": "Bearer omb_nobody_nobody"}, "UNAUTHENTICATED"),
        (SEGMENTS, house.headers("viewer"), "PERMISSION_DENIED"),
        ("nothing", house.headers(), "NOT_FOUND"),
        (CLAIMS, house.headers(), "INVALID_ARGUMENT"),
    ]:
        with pytest.raises(InferenceServerException) as refused:
            triton.infer(model, [matrix(1)], headers=headers)
        assert code in refused.value.status(), refused.value


def refusals(house):
    """How often each route was turned away, whoever called; further ones of a minute are counted together later."""
    answer = requests.get(f"{house.url}/api/v1/audit/records?kind=refused&limit=1000", headers=house.headers("auditor"))
    assert answer.status_code == 200, answer.text
    return [record["detail"]["route"] for record in answer.json()["records"] if "route" in (record.get("detail") or {})]


def test_whoever_is_turned_away_is_on_record(house):
    with client.InferenceServerClient(house.address) as triton:
        headers = house.headers("auditor")
        with pytest.raises(InferenceServerException):
            triton.load_model(SEGMENTS, headers=headers)
        with pytest.raises(InferenceServerException):
            triton.get_model_metadata("nothing", headers=headers)
    routes = refusals(house)
    assert "/inference.GRPCInferenceService/{method}" in routes
    assert "/inference.GRPCInferenceService/ModelMetadata" in routes


def test_a_key_as_metadata_of_its_own_name(triton, house):
    assert triton.infer(SEGMENTS, [matrix(1)], headers={"x-api-key": house.key()}).as_numpy("label").shape == (1, 1)


def test_the_repository_and_counts(triton, house):
    headers = house.headers()
    index = triton.get_model_repository_index(headers=headers).models
    assert ("READY", SEGMENTS) in [(line.state, line.name) for line in index]
    triton.unload_model(SEGMENTS, headers=headers)
    triton.load_model(SEGMENTS, headers=headers)
    triton.infer(SEGMENTS, [matrix(3)], headers=headers)
    counted = triton.get_inference_statistics(SEGMENTS, headers=headers).model_stats[0]
    assert counted.inference_count >= 3 and counted.inference_stats.success.count >= 1
    with pytest.raises(InferenceServerException) as refused:
        triton.load_model(SEGMENTS, headers=headers, files={"file:1/model.onnx": b"x"}, config="{}")
    assert "PERMISSION_DENIED" in refused.value.status()


def test_what_is_not_done_says_so(triton, house):
    for ask in (triton.get_system_shared_memory_status, triton.get_cuda_shared_memory_status, triton.get_trace_settings):
        with pytest.raises(InferenceServerException) as refused:
            ask(headers=house.headers())
        assert "UNIMPLEMENTED" in refused.value.status(), refused.value


def test_calls_that_do_not_wait(triton, house):
    answers = queue.Queue()
    for _ in range(4):
        triton.async_infer(SEGMENTS, [matrix(1)], lambda result, error: answers.put((result, error)), headers=house.headers())
    for _ in range(4):
        result, error = answers.get(timeout=30)
        assert error is None and result.as_numpy("label").shape == (1, 1)


def test_a_stream_goes_on_after_an_error(triton, house):
    answers = queue.Queue()
    triton.start_stream(lambda result, error: answers.put((result, error)), headers=house.headers())
    triton.async_stream_infer(SEGMENTS, [matrix(2)], request_id="first")
    triton.async_stream_infer(SEGMENTS, [text("nothing", "x")], request_id="wrong")
    triton.async_stream_infer(SEGMENTS, [matrix(1)], request_id="last", enable_empty_final_response=True)
    got = [answers.get(timeout=30) for _ in range(3)]
    triton.stop_stream()
    assert got[0][1] is None and got[0][0].get_response().id == "first"
    assert got[1][0] is None and "nothing" in str(got[1][1])
    assert got[2][1] is None and got[2][0].get_response().id == "last"
    assert got[2][0].get_response().parameters["triton_final_response"].bool_param


def test_health_and_reflection(house):
    with grpc.insecure_channel(house.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        serving = health_pb2.HealthCheckResponse.SERVING
        for service in ("", "inference.GRPCInferenceService"):
            assert health.Check(health_pb2.HealthCheckRequest(service=service)).status == serving
        assert next(iter(health.Watch(health_pb2.HealthCheckRequest(), timeout=20))).status == serving
        known = ProtoReflectionDescriptorDatabase(channel)
        assert "inference.GRPCInferenceService" in known.get_services()
        file = known.FindFileContainingSymbol("inference.ModelInferRequest")
        assert "ModelInferRequest" in [message.name for message in file.message_type]
