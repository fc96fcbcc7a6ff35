"""MLServer's codecs: what its own inference pipeline would send and read, over plain HTTP and over a gRPC stream in its form."""

import grpc
import house as houses
import pandas as pd
import pytest
import requests
from house import CLAIMS, SEGMENTS, rows
from mlserver.codecs import Base64Codec, NumpyRequestCodec, PandasCodec, StringCodec
from mlserver.grpc import dataplane_pb2 as messages
from mlserver.grpc import dataplane_pb2_grpc as services
from mlserver.types import InferenceRequest, InferenceResponse

WORDS = ["department", "claim_type", "severity", "description"]
WHOLE = ["tenure_years", "prior_claims", "witnesses", "days_since_event", "open_cases"]


def claims(count):
    table = pd.DataFrame(rows("claims", count))[WORDS + WHOLE]
    return table.assign(**{name: table[name].astype(float) for name in WHOLE})


def ask(house, model, request):
    body = request.model_dump_json(exclude_none=True) if isinstance(request, InferenceRequest) else request
    headers = {**house.headers(), "content-type": "application/json"}
    answer = requests.post(f"{house.url}/v2/models/{model}/infer", data=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return InferenceResponse.model_validate_json(answer.text)


def test_a_table_of_mixed_columns_goes_in_and_a_table_comes_out(house):
    table = claims(4)
    table.loc[2, "tenure_years"] = None
    response = ask(house, CLAIMS, PandasCodec.encode_request(table))
    assert response.parameters is not None and response.model_version == "1"
    outputs = {output.name: output for output in response.outputs}
    labels = StringCodec.decode_output(outputs["label"])
    single = [ask(house, CLAIMS, PandasCodec.encode_request(table.iloc[[row]])) for row in range(4)]
    assert labels == [StringCodec.decode_output(one.outputs[0])[0] for one in single]
    told = response.model_copy(update={"outputs": [outputs["label"], outputs["decision_id"]]})
    decoded = PandasCodec.decode_response(told)
    assert list(decoded.columns) == ["label", "decision_id"] and decoded.shape == (4, 2)


def test_texts_as_base64_are_the_same_texts(house):
    text = "overtime was not paid"
    plain = InferenceRequest(inputs=[StringCodec.encode_input("description", [text])])
    packed = InferenceRequest(inputs=[Base64Codec.encode_input("description", [text.encode()])])
    scores = [ask(house, CLAIMS, request).outputs[1].data.root for request in (plain, packed)]
    assert scores[0] == scores[1]


def test_an_array_is_a_matrix(house):
    table = pd.DataFrame(rows("segments", 3))[houses.NUMBERS].replace("", None).astype(float)
    response = ask(house, SEGMENTS, NumpyRequestCodec.encode_request(table.to_numpy()))
    assert response.outputs[0].shape == [3, 1]


def test_an_answer_comes_as_an_event(house):
    request = PandasCodec.encode_request(claims(3)).model_dump_json(exclude_none=True)
    headers = {**house.headers(), "content-type": "application/json"}
    for door in ["infer_stream", "generate_stream"]:
        with requests.post(f"{house.url}/v2/models/{CLAIMS}/{door}", data=request, headers=headers, stream=True) as answer:
            assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/event-stream")
            lines = [line for line in answer.iter_lines(decode_unicode=True) if line]
        assert len(lines) == 1
        response = InferenceResponse.model_validate_json(lines[0].removeprefix("data: "))
        outputs = {output.name: output for output in response.outputs}
        assert StringCodec.decode_output(outputs["label"]) == labels(house)
    whole = requests.post(f"{house.url}/v2/models/{CLAIMS}/generate", data=request, headers=headers)
    assert StringCodec.decode_output(InferenceResponse.model_validate_json(whole.text).outputs[0]) == labels(house)
    refused = requests.post(f"{house.url}/v2/models/{CLAIMS}/infer_stream", json={"inputs": []}, headers=headers)
    assert refused.status_code == 400 and refused.json()["error"]


def labels(house):
    return StringCodec.decode_output(ask(house, CLAIMS, PandasCodec.encode_request(claims(3))).outputs[0])


def test_a_content_type_that_nobody_reads_is_refused(house):
    body = {"inputs": [{"name": "description", "shape": [1], "datatype": "BYTES", "parameters": {"content_type": "image"}, "data": ["x"]}]}
    answer = requests.post(f"{house.url}/v2/models/{CLAIMS}/infer", json=body, headers=house.headers())
    assert answer.status_code == 400 and "content type" in answer.json()["error"]


@pytest.fixture
def streaming(house, tmp_path):
    """Another server on the same models, whose streams speak MLServer's form for one of them."""
    with houses.serving(tmp_path, {"inference.mlserver_streams": CLAIMS}) as other:
        yield other


def question(identity, name="description"):
    contents = messages.InferTensorContents(bytes_contents=[b"overtime was not paid"])
    tensor = messages.ModelInferRequest.InferInputTensor(name=name, datatype="BYTES", shape=[1, 1], contents=contents)
    return messages.ModelInferRequest(model_name=CLAIMS, id=identity, inputs=[tensor])


def test_a_stream_in_mlserver_s_form_ends_with_its_first_error(streaming):
    metadata = list(streaming.headers().items())
    with grpc.insecure_channel(streaming.address) as channel:
        stub = services.GRPCInferenceServiceStub(channel)
        typed = stub.ModelInfer(question("typed"), metadata=metadata)
        assert typed.outputs[0].contents.bytes_contents and not typed.raw_output_contents
        answers = stub.ModelStreamInfer(iter([question("a"), question("b")]), metadata=metadata)
        assert [answer.id for answer in answers] == ["a", "b"]
        answers = stub.ModelStreamInfer(iter([question("a"), question("b", "nothing"), question("c")]), metadata=metadata)
        assert next(answers).id == "a"
        with pytest.raises(grpc.RpcError) as refused:
            next(answers)
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
