"""A Prometheus reads /metrics, and finds there what a dashboard of Triton asks for."""

import os
import shutil
import socket
import subprocess
import time

import pytest
import requests
from house import CLAIMS

#: What the panels of Triton's own dashboard are drawn from.
SERIES = [
    "nv_inference_request_success", "nv_inference_request_failure", "nv_inference_count", "nv_inference_exec_count",
    "nv_inference_request_duration_us", "nv_inference_queue_duration_us", "nv_inference_compute_input_duration_us",
    "nv_inference_compute_infer_duration_us", "nv_inference_compute_output_duration_us", "nv_inference_pending_request_count",
    "nv_cache_num_hits_per_model", "nv_cache_num_misses_per_model", "nv_model_load_duration_secs",
]


@pytest.fixture
def prometheus(house, tmp_path):
    program = shutil.which("prometheus")
    if program is None:
        assert "CI" not in os.environ, "CI needs the package prometheus"
        pytest.skip("PROMETHEUS IS NOT INSTALLED: /metrics is not read by a real one (install prometheus)")
    (tmp_path / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s}\nscrape_configs:\n- job_name: ombud\n  static_configs:\n"
        f"  - targets: ['{house.address}']\n"
    )
    # It cannot choose a free port and say which.
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    words = [program, f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data", f"--web.listen-address={address}"]
    with subprocess.Popen(words, stderr=subprocess.DEVNULL) as process:
        yield f"http://{address}"
        process.terminate()


def asked(url, query):
    try:
        answer = requests.get(f"{url}/api/v1/query", params={"query": query}, timeout=5).json()
    except (requests.ConnectionError, ValueError):
        return []
    return answer.get("data", {}).get("result", [])


def test_prometheus_reads_what_a_dashboard_of_triton_draws(house, prometheus):
    given = {"instances": [{"description": "overtime was not paid", "severity": "low"}] * 3}
    answer = requests.post(f"{house.url}/v1/models/{CLAIMS}:predict", json=given, headers=house.headers())
    assert answer.status_code == 200, answer.text
    until = time.monotonic() + 60
    while not asked(prometheus, f'nv_inference_count{{model="{CLAIMS}"}} >= 3'):
        assert time.monotonic() < until, requests.get(f"{house.url}/metrics").text
        time.sleep(0.2)
    for series in SERIES:
        found = asked(prometheus, f'{series}{{model="{CLAIMS}",version="1"}}')
        assert found, series
    for gauge in ["nv_cpu_utilization", "nv_cpu_memory_total_bytes", "nv_cpu_memory_used_bytes", "ombud_decision_seconds_count"]:
        assert asked(prometheus, gauge), gauge
    reasons = asked(prometheus, f'nv_inference_request_failure{{model="{CLAIMS}"}}')
    assert {line["metric"]["reason"] for line in reasons} >= {"REJECTED", "CANCELED", "BACKEND", "OTHER"}
    assert [line["value"][1] for line in asked(prometheus, "up")] == ["1"]
