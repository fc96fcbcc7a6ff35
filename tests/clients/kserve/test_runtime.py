"""The runtime's file: KServe knows every field of it, and what its container runs serves the bundle that is mounted."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import time

import house as houses
import kubernetes.client as kubernetes
import pytest
import requests
import yaml
from kserve import models

FILE = houses.ROOT / "deploy" / "kserve" / "ombud-runtime.yaml"
PATIENCE = 60


@pytest.fixture(scope="module")
def runtime():
    return yaml.safe_load(FILE.read_text(encoding="utf-8"))


def test_kserve_knows_every_field(runtime):
    spec = runtime["spec"]
    assert runtime["kind"] == "ClusterServingRuntime" and runtime["apiVersion"] == "serving.kserve.io/v1alpha1"
    assert set(spec) <= set(models.V1alpha1ServingRuntimeSpec.attribute_map.values())
    for form in spec["supportedModelFormats"]:
        assert set(form) <= set(models.V1alpha1SupportedModelFormat.attribute_map.values())
    (container,) = spec["containers"]
    assert container["name"] == "kserve-container"
    assert set(container) <= set(kubernetes.V1Container.attribute_map.values())


def free_address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


class Pod:
    """What the container runs, with places of this machine for those of a pod, and SQLite for the secret's database."""

    def __init__(self, container, folder, bundle):
        self.folder, self.address = folder, free_address()
        given = {line["name"]: line["value"] for line in container["env"] if "value" in line}
        given |= {
            "OMBUD__SERVER__LISTEN": self.address,
            "OMBUD__SERVER__GRPC_BIND": free_address(),
            "OMBUD__STORAGE__FOLDER": str(folder),
            "OMBUD__LEDGER__MASTER_KEY_FILE": str(folder / "master.key"),
            "OMBUD__LEDGER__SIGNING_KEY_FILE": str(folder / "checkpoint.key"),
            "OMBUD_MODEL": houses.SEGMENTS,
            "PATH": f"{pathlib.Path(houses.OMBUD).resolve().parent}:{os.environ['PATH']}",
        }
        (script,) = container["args"]
        script = script.replace("{{.Name}}", "wellness").replace("/mnt/models", str(bundle))
        self.process = subprocess.Popen([*container["command"], script], env=given, cwd=folder)

    def wait(self):
        until = time.monotonic() + PATIENCE
        while not (self.folder / "deployed").exists():
            assert self.process.poll() is None and time.monotonic() < until, "the pod is not ready"
            time.sleep(0.05)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=PATIENCE)


def test_a_pod_serves_the_bundle_that_is_mounted_and_so_does_the_next(runtime, tmp_path):
    (container,) = runtime["spec"]["containers"]
    bundle = houses.trained("segments", tmp_path / "models")
    folder = tmp_path / "data"
    folder.mkdir()
    for _ in range(2):
        pod = Pod(container, folder, bundle)
        try:
            asked(pod, folder)
        finally:
            ended = pod.stop()
        assert ended == 0
        (folder / "deployed").unlink()


def asked(pod, folder):
    pod.wait()
    made = houses.ombud("keys", "new", "--label", "test", "--role", "caller", "--folder", folder, "--json")
    headers = {"authorization": f"Bearer {json.loads(made.stdout)['key']}"}
    body = {"inputs": [{"name": "input", "shape": [1, 8], "datatype": "FP32", "data": [7, 6000, 60, 5, 4, 3, 2, 1]}]}
    answer = requests.post(f"http://{pod.address}/v2/models/{houses.SEGMENTS}/infer", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
