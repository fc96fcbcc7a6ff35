"""The clients people already have: MLflow 2.22 and the newest 3, each in a Python of its own, against our server.

What they log is then looked at from our side: a registered XGBoost or ONNX model answers on our own API, with a record in
the ledger, and what a server of MLflow's own has comes over whole.
"""

import base64
import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest

from conftest import OMBUD, ROOT, ombud

HERE = pathlib.Path(__file__).parent
CLIENTS = {name: os.environ.get(f"OMBUD_MLFLOW_{name}") for name in ("2", "3")}


class Server:
    def __init__(self, process, started, folder):
        self.process, self.url, self.first, self.folder = process, started["url"], started.get("first_start"), folder
        made = ombud("keys", "new", "--label", "test", "--role", "admin", "--folder", folder, "--json")
        self.key = json.loads(made.stdout)["key"]

    def call(self, method, path, body=None, **headers):
        headers = {"authorization": f"Bearer {self.key}", "content-type": "application/json"} | headers
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"null")


@contextlib.contextmanager
def serving(folder):
    words = [OMBUD, "serve", "--port", "0", "--folder", folder, "--json", "--set", "log.requests=false"]
    words += ["--set", "limits.reads_per_minute=0", "--set", "limits.changes_per_minute=0"]
    with subprocess.Popen([str(word) for word in words], stdout=subprocess.PIPE, text=True, cwd=folder.parent) as process:
        try:
            yield Server(process, json.loads(process.stdout.readline()), folder)
        except BaseException:
            # What failed is told; to wait for the server first would hide it.
            process.kill()
            raise
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("mlflow") / "data") as server:
        yield server


def client(release, what, url, **credentials):
    """Runs the script with a release's own Python; gives what it printed, or fails with all it said."""
    python = CLIENTS[release]
    if not python:
        pytest.skip(f"OMBUD_MLFLOW_{release} names no Python")
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "GIT_PYTHON_REFRESH": "quiet", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    done = subprocess.run(
        [python, HERE / "mlflow_client.py", what], capture_output=True, text=True, timeout=300,
        env=plain | quiet | {"MLFLOW_TRACKING_URI": url} | credentials,
    )
    assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-10_000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module", params=["2", "3"])
def told(request, server):
    """What a release's client saw. One signs in with a key as a token, the other with a login and a password."""
    if request.param == "2":
        return client("2", "all", server.url, MLFLOW_TRACKING_TOKEN=server.key)
    login, password = server.first["login"], server.first["password"]
    return client("3", "all", server.url, MLFLOW_TRACKING_USERNAME=login, MLFLOW_TRACKING_PASSWORD=password)


def probabilities(server, name, rows):
    status, answer = server.call("POST", f"/api/v1/models/{name}/decide:batch", {"rows": [{"input": row} for row in rows]})
    assert status == 200, answer
    return [max(row["probabilities"].items(), key=lambda pair: str(pair[0]) == "1")[1] for row in answer["results"]]


def test_a_registered_model_of_xgboost_answers_decisions(told, server):
    boosted = told["deployable"]
    assert boosted["message"].startswith("Deployable: model.ubj became a bundle (forest)."), boosted["message"]
    # The client moved it to Production, which deployed it.
    answered = probabilities(server, boosted["name"], boosted["rows"])
    assert answered == pytest.approx(boosted["probabilities"], abs=1e-6)
    if graph := boosted.get("graph"):
        assert graph["message"].startswith("Deployable: model.onnx became a bundle (onnx)."), graph["message"]
        ombud("deploy", "graph", "1", "--folder", server.folder)
        wait_until_served(server, "graph", boosted["rows"][0])
        assert probabilities(server, "graph", boosted["rows"]) == pytest.approx(graph["probabilities"], abs=1e-5)


def wait_until_served(server, name, row):
    # A replica looks each second; the server is asked until it has looked.
    until = time.monotonic() + 20
    while server.call("POST", f"/api/v1/models/{name}/decide", {"input": row})[0] != 200:
        assert time.monotonic() < until, f"{name} is not served"


def test_a_wrong_filter_is_told_with_the_nearest_right_word(told):
    assert "at character 1" in told["wrong_filter"] and "is it `metrics`?" in told["wrong_filter"], told["wrong_filter"]


def test_a_pickle_is_kept_and_says_that_it_is_never_loaded(told):
    message = told["registry"]["pickle"]
    assert message.startswith("Kept, not deployable: model.") and "never loaded here" in message, message


def test_what_a_client_changed_is_on_record(told, server):
    status, page = server.call("GET", "/api/v1/audit/records?kind=registry&limit=1000")
    assert status == 200, page
    did = {record["detail"]["did"] for record in page["records"] if record.get("detail")}
    assert did >= {"make model", "list version", "alias", "register", "delete", "tag"}, did


@pytest.mark.parametrize("release", ["2", "3"])
def test_a_wrong_password_fails_at_once(release, server):
    told = client(release, "wrong-password", server.url, MLFLOW_TRACKING_USERNAME="admin", MLFLOW_TRACKING_PASSWORD="no")
    assert told["seconds"] < 5 and "UNAUTHENTICATED" in told["error"], told


def test_another_workspace_is_refused(server):
    path = "/api/2.0/mlflow/experiments/get?experiment_id=0"
    assert server.call("GET", path, **{"x-mlflow-workspace": "main"})[0] == 200
    status, answer = server.call("GET", path, **{"x-mlflow-workspace": "other"})
    assert (status, answer["error_code"]) == (403, "PERMISSION_DENIED")


def test_a_key_is_a_password_too(server):
    pair = base64.b64encode(f"anybody:{server.key}".encode()).decode()
    path = "/ajax-api/2.0/mlflow/experiments/get-by-name?experiment_name=Default"
    status, answer = server.call("GET", path, authorization=f"Basic {pair}")
    assert status == 200 and answer["experiment"]["experiment_id"] == "0"


def test_what_is_not_here_is_told_as_such(server):
    status, answer = server.call("POST", "/api/2.0/mlflow/gateway-proxy", {})
    assert (status, answer["error_code"]) == (404, "ENDPOINT_NOT_FOUND")
    status, answer = server.call("POST", "/api/2.0/mlflow/runs/create", {"experiment_id": "77"})
    assert (status, answer["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")
    status, answer = server.call("GET", "/api/2.0/mlflow-artifacts/artifacts/0/..%2F..%2Fombud.db")
    assert (status, answer["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert server.call("GET", "/api/3.0/mlflow/server-info")[1]["workspaces_enabled"] is True


def test_a_training_is_a_run_and_a_bundle_a_version(server, trained):
    bundle = trained("claims")["bundle"]
    ombud("register", bundle, "--folder", server.folder)
    version = server.call("GET", "/api/2.0/mlflow/model-versions/get?name=claim_outcome&version=1")[1]["model_version"]
    run = server.call("GET", f"/api/2.0/mlflow/runs/get?run_id={version['run_id']}")[1]["run"]
    metrics = {point["key"]: point["value"] for point in run["data"]["metrics"]}
    manifest = json.loads((pathlib.Path(ROOT, bundle) / "manifest.json").read_text())
    assert metrics["accuracy"] == manifest["metrics"]["accuracy"]["value"]
    files = server.call("GET", f"/api/2.0/mlflow/artifacts/list?run_id={version['run_id']}")[1]["files"]
    assert [file["path"] for file in files] == ["card.md", "manifest.json", "report.json"]


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """A server of MLflow's own, with what its client does to it."""
    if not CLIENTS["3"]:
        pytest.skip("OMBUD_MLFLOW_3 names no Python")
    folder = tmp_path_factory.mktemp("theirs")
    command = pathlib.Path(CLIENTS["3"]).parent / "mlflow"
    port = free_port()
    words = [command, "server", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination",
             folder / "files", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    with subprocess.Popen(
        [str(word) for word in words], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        start_new_session=True, env=os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"},
    ) as process:
        try:
            assert any("Application startup complete" in line for line in process.stderr), "it did not start"
            # Its later words go nowhere, and a full pipe must not stop it.
            threading.Thread(target=lambda: [None for _ in process.stderr], daemon=True).start()
            url = f"http://127.0.0.1:{port}"
            yield url, client("3", "all", url)
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=30)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def asked_there(url, path, body):
    asked = urllib.request.Request(f"{url}/api/2.0/mlflow/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        return json.loads(urllib.request.urlopen(asked, timeout=60).read())
    except urllib.error.HTTPError as error:
        raise AssertionError(error.read().decode()) from error


def a_run_at_work_is_finished_by_the_next_import(url, ours):
    def there(path, body):
        return asked_there(url, path, body)

    def logged(**more):
        there("runs/log-batch", {"run_id": run, **more})

    run = there("runs/create", {"experiment_id": "0", "start_time": 1, "run_name": "late"})["run"]["info"]["run_id"]
    logged(metrics=[{"key": "loss", "value": 2.0, "timestamp": 1, "step": 1}])
    first = json.loads(ombud("import", "mlflow", url, "--folder", ours.folder, "--json").stdout)
    assert (first["runs"], first["running"]) == (1, 1), first
    logged(
        metrics=[{"key": "loss", "value": 1.0, "timestamp": 2, "step": 2}], params=[{"key": "depth", "value": "9"}],
        tags=[{"key": "late", "value": "yes"}],
    )
    there("runs/update", {"run_id": run, "status": "FINISHED", "end_time": 3})
    second = json.loads(ombud("import", "mlflow", url, "--folder", ours.folder, "--json").stdout)
    assert (second["runs"], second["running"]) == (1, 0), second
    there("runs/set-tag", {"run_id": run, "key": "afterwards", "value": "too"})
    third = json.loads(ombud("import", "mlflow", url, "--folder", ours.folder, "--json").stdout)
    assert third["runs"] == 0, third
    here = ours.call("GET", f"/api/2.0/mlflow/runs/get?run_id={run}")[1]["run"]
    assert here["info"]["status"] == "FINISHED" and here["data"]["params"] == [{"key": "depth", "value": "9"}], here
    assert {tag["key"] for tag in here["data"]["tags"]} >= {"late", "afterwards"}, here
    path = f"/api/2.0/mlflow/metrics/get-history?run_id={run}&metric_key=loss"
    history = ours.call("GET", path)[1]["metrics"]
    assert sorted(point["step"] for point in history) == [1, 2], history


def test_everything_of_a_server_of_mlflow_comes_over(theirs, tmp_path):
    url, told = theirs
    moved = {"name": "graph", "version": "1", "stage": "Production", "archive_existing_versions": False}
    asked_there(url, "model-versions/transition-stage", moved)
    # MLflow takes these names; a person's name holds the mark that its filters begin with.
    asked_there(url, "registered-models/alias", {"name": "graph", "alias": "1st", "version": "1"})
    asked_there(url, "registered-models/create", {"name": "o'neil", "description": "a\0b"})
    graph = json.loads(urllib.request.urlopen(f"{url}/api/2.0/mlflow/model-versions/get?name=graph&version=1").read())
    source = graph["model_version"]["source"]
    same = {"source": source, "model_id": source.removeprefix("models:/")}
    asked_there(url, "model-versions/create", {"name": "o'neil", **same})
    run = asked_there(url, "runs/search", {"experiment_ids": ["1"], "max_results": 1})["runs"][0]["info"]["run_id"]
    asked_there(url, "model-versions/create", {"name": "o'neil", "source": f"runs:/{run}/notes", "run_id": run})
    # A name that a file can have there and not here, beside the description above, which holds a NUL.
    odd = f"{url}/api/2.0/mlflow-artifacts/artifacts/1/{run}/artifacts/we%5Cird.txt"
    urllib.request.urlopen(urllib.request.Request(odd, b"odd", method="PUT"), timeout=60).read()
    with serving(tmp_path / "data") as ours:
        took = json.loads(ombud("import", "mlflow", url, "--folder", ours.folder, "--json").stdout)
        assert took["runs"] >= 7 and took["versions"] == 8 and took["deployable"] == 3, took
        assert took["metrics"] >= 1_000 and took["files"] > 10, took
        # What serves is decided here, by gates; the next import tells it once more.
        assert {"model": "graph", "version": 1, "stage": "Production"} in took["staged"], took
        again = json.loads(ombud("import", "mlflow", url, "--folder", ours.folder, "--json").stdout)
        assert again["runs"] == 0 and again["known"] == took["runs"] and again["versions"] == 0, again
        assert again["staged"] == took["staged"], again
        assert len(took["left_out"]) == 1 and "ird.txt" in took["left_out"][0], took
        assert again["left_out"] == took["left_out"], again
        aliases = ours.call("GET", "/api/2.0/mlflow/registered-models/get?name=graph")[1]["registered_model"]["aliases"]
        assert {"alias": "1st", "version": "1"} in aliases, aliases
        # A run's files are looked for where they lie here now.
        of_run = ours.call("GET", "/api/2.0/mlflow/model-versions/get?name=o%27neil&version=2")[1]["model_version"]
        assert "is among its files" in of_run["status_message"], of_run
        prompt = ours.call("GET", f"/api/2.0/mlflow/model-versions/get?name={told['prompt']}&version=2")[1]["model_version"]
        assert prompt["status"] == "READY" and "Good evening, {{who}}." in json.dumps(prompt["tags"]), prompt
        # What was moved here since stays where it is.
        ours.call("DELETE", "/api/2.0/mlflow/registered-models/alias", {"name": "graph", "alias": "1st"})
        ombud("import", "mlflow", url, "--folder", ours.folder, "--json")
        aliases = ours.call("GET", "/api/2.0/mlflow/registered-models/get?name=graph")[1]["registered_model"].get("aliases", [])
        assert "1st" not in [alias["alias"] for alias in aliases], aliases
        a_run_at_work_is_finished_by_the_next_import(url, ours)
        name = told["registry"]["name"].replace(" ", "%20")
        path = f"/api/2.0/mlflow/registered-models/alias?name={name}&alias=champion"
        version = ours.call("GET", path)[1]["model_version"]
        assert version["version"] == "2" and version["status"] == "READY", version
        body = {"experiment_ids": ["1"], "filter": "metrics.auc > 0.8 and params.depth = '3'"}
        runs = ours.call("POST", "/api/2.0/mlflow/runs/search", body)[1]["runs"]
        assert [run["info"]["run_name"] for run in runs] == ["first"]
        ombud("deploy", "graph", "1", "--folder", ours.folder)
        wait_until_served(ours, "graph", told["deployable"]["rows"][0])
