"""schemathesis reads /openapi.json and looks for a call that makes the server fail or break its word.

Bounded: a fixed seed, a few examples per operation, a time limit. Whatever it finds is printed as a curl that does it again.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest

from conftest import OMBUD, ombud

# How many calls it makes up per operation and phase.
EXAMPLES = os.environ.get("OMBUD_SCHEMATHESIS_EXAMPLES", "15")
# Promises of the document that every answer is held against. An input that the document allows may still be refused: a model's
# own schema is no part of it.
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


@pytest.fixture
def server(tmp_path, trained):
    folder = tmp_path / "data"
    words = [OMBUD, "serve", "--port", "0", "--folder", folder, "--json", "--set", "log.requests=false"]
    limits = ["reads_per_minute", "changes_per_minute", "decisions_per_minute", "sign_ins_per_minute"]
    words += [word for limit in limits for word in ("--set", f"limits.{limit}=0")]
    with subprocess.Popen([str(word) for word in words], stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        started = json.loads(process.stdout.readline())
        ombud("deploy", "claim_outcome", trained("claims")["bundle"], "--folder", folder)
        made = ombud("keys", "new", "--label", "test", "--role", "admin", "--folder", folder, "--json")
        yield started["url"], json.loads(made.stdout)["key"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0


def test_no_call_makes_the_server_fail_or_break_its_word(server, tmp_path):
    url, key = server
    command = pathlib.Path(sys.executable).parent / "schemathesis"
    done = subprocess.run(
        [
            command, "run", f"{url}/openapi.json", "--url", url, "--header", f"Authorization: Bearer {key}",
            "--checks", CHECKS, "--max-examples", EXAMPLES, "--seed", "7", "--phases", "examples,coverage,fuzzing",
            "--request-timeout", "20", "--generation-deterministic", "--no-color",
            # Takes a packed bundle, which nobody can make up; test_bundles.py and the Rust tests send real ones.
            "--exclude-operation-id", "registry_register",
            # Answer 503 for what is not ready, because KServe's client waits for that; tests/clients asks them.
            "--exclude-operation-id", "inference_model_ready",
            "--exclude-operation-id", "inference_version_ready",
        ],
        cwd=tmp_path, capture_output=True, text=True, timeout=900,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
    assert done.stdout.count("operations") > 0, done.stdout
