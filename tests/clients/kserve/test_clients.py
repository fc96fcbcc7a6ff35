"""KServe's own clients, REST with both of its protocols and gRPC."""

import asyncio

import numpy as np
import pytest
from house import CLAIMS, NUMBERS, SEGMENTS, rows
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig


def matrix(count, as_json=False):
    data = np.array([[float(row[name] or "nan") for name in NUMBERS] for row in rows("segments", count)], dtype=np.float32)
    tensor = InferInput(name="input", shape=list(data.shape), datatype="FP32")
    tensor.set_data_from_numpy(np.nan_to_num(data), binary_data=not as_json)
    return InferRequest(model_name=SEGMENTS, infer_inputs=[tensor])


def run(work):
    return asyncio.run(work)


def test_rest_with_the_second_protocol(house):
    async def work():
        client = InferenceRESTClient(RESTConfig(protocol="v2"))
        assert await client.is_server_live(house.url) is True
        assert await client.is_server_ready(house.url) is True
        assert await client.is_model_ready(house.url, SEGMENTS, headers=house.headers())
        assert not await client.is_model_ready(house.url, "nothing", headers=house.headers())
        answers = [
            await client.infer(house.url, matrix(3, as_json), model_name=SEGMENTS, headers=dict(house.headers()))
            for as_json in (True, False)
        ]
        await client.close()
        return answers

    json_, binary = run(work())
    # This client drops the version from every answer of REST; the one of gRPC reads it.
    assert json_.model_name == binary.model_name == SEGMENTS
    label, other = json_.outputs[0].as_numpy(), binary.outputs[0].as_numpy()
    assert label.shape == (3, 1)
    assert [str(value) for value in label.ravel()] == [value.decode() if isinstance(value, bytes) else str(value) for value in other.ravel()]


def test_rest_with_the_first_protocol(house):
    async def work():
        client = InferenceRESTClient(RESTConfig(protocol="v1"))
        ready = await client.is_model_ready(house.url, CLAIMS, headers=house.headers())
        body = {"instances": [{"description": "overtime was not paid", "severity": "low"}]}
        answer = await client.infer(house.url, body, model_name=CLAIMS, headers=dict(house.headers()))
        await client.close()
        return ready, answer

    ready, answer = run(work())
    assert ready is True and len(answer["predictions"]) == 1


def test_grpc(house):
    async def work():
        client = InferenceGRPCClient(house.address)
        assert await client.is_server_live() and await client.is_server_ready()
        headers = list(house.headers().items())
        ready = await client.is_model_ready(SEGMENTS, headers=headers)
        answer = await client.infer(matrix(2), headers=headers)
        await client.close()
        return ready, answer

    ready, answer = run(work())
    assert ready and answer.model_name == SEGMENTS and answer.model_version == "1"
    scores = next(output for output in answer.outputs if output.name == "probabilities").as_numpy()
    np.testing.assert_allclose(scores.sum(axis=1), 1.0, atol=1e-9)


def test_a_stranger_is_told_what_is_missing(house):
    async def work():
        client = InferenceRESTClient(RESTConfig(protocol="v2", retries=0))
        try:
            await client.infer(house.url, matrix(1), model_name=SEGMENTS)
        finally:
            await client.close()

    with pytest.raises(Exception, match="401"):
        run(work())
