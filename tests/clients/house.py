"""A server with models that mix kinds of columns and models that are all numbers, for the clients of others.

Each suite beside this file drives it with the packages of its own requirements: two of them define the same messages of
protocol buffers and cannot live in one process.
"""

import contextlib
import csv
import itertools
import json
import os
import pathlib
import signal
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
OMBUD = os.environ["OMBUD"]
CLAIMS = "claim_outcome"
SEGMENTS = "wellness_segments"
#: Without its one column of words the segments' model is all numbers.
SETTINGS = {"segments": ["--set", "data.protected=[]", "--set", 'features.drop=["age_band"]']}
#: The columns of the segments' model, in its order.
NUMBERS = ["sleep_hours", "daily_steps", "resting_pulse", "mood", "stress", "social_hours", "screen_hours", "night_hours"]


def ombud(*arguments, check=True):
    done = subprocess.run([OMBUD, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True)
    assert not check or done.returncode == 0, done.stderr
    return done


def rows(example, count):
    """Rows of an example's new data, from its first again after its last, as texts by column."""
    with open(ROOT / "examples" / example / "new.csv", newline="", encoding="utf-8") as file:
        return list(itertools.islice(itertools.cycle(csv.DictReader(file)), count))


class House:
    """A running server and keys for it."""

    def __init__(self, folder, settings=()):
        self.folder = folder
        words = [OMBUD, "serve", "--port", "0", "--folder", folder / "data", "--json", "--set", "log.requests=false"]
        for name, value in {"server.grpc_bind": "127.0.0.1:0", **dict(settings)}.items():
            words += ["--set", f"{name}={value}"]
        self.process = subprocess.Popen([str(word) for word in words], stdout=subprocess.PIPE, text=True, cwd=folder)
        started = json.loads(self.process.stdout.readline())
        self.url = started["url"]
        self.address = self.url.removeprefix("http://")
        self.grpc_address = started["grpc_address"]
        self.keys = {}

    def deploy(self, model, bundle):
        ombud("deploy", model, bundle, "--folder", self.folder / "data")

    def key(self, role="operator"):
        if role not in self.keys:
            made = ombud("keys", "new", "--label", "test", "--role", role, "--folder", self.folder / "data", "--json")
            self.keys[role] = json.loads(made.stdout)["key"]
        return self.keys[role]

    def headers(self, role="operator"):
        return {"authorization": f"Bearer {self.key(role)}"}

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=60) == 0


def trained(example, out):
    done = ombud("train", ROOT / "examples" / example / "recipe.toml", *SETTINGS.get(example, []), "--out", out, "--json")
    return json.loads(done.stdout)["bundle"]


@contextlib.contextmanager
def serving(folder, settings=()):
    bundles = {CLAIMS: trained("claims", folder / "models"), SEGMENTS: trained("segments", folder / "models")}
    house = House(folder, settings)
    for model, bundle in bundles.items():
        house.deploy(model, bundle)
    wait_ready(house)
    yield house
    house.stop()


def wait_ready(house):
    """A running server takes a deployment up within two seconds; asking is cheaper than waiting for all of them."""
    import time
    import urllib.request

    until = time.monotonic() + 20
    for model in (CLAIMS, SEGMENTS):
        request = urllib.request.Request(f"{house.url}/v2/models/{model}/ready", headers=house.headers())
        while True:
            try:
                urllib.request.urlopen(request).close()
                break
            except urllib.error.HTTPError:
                assert time.monotonic() < until, f"{model} is not ready"
                time.sleep(0.05)
