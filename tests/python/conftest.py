"""Trains each example once with the real binary; the tests look at what came out, with tools that are not ours."""

import json
import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
OMBUD = os.environ["OMBUD"]


def ombud(*arguments, cwd=ROOT, check=True):
    done = subprocess.run([OMBUD, *map(str, arguments)], cwd=cwd, capture_output=True, text=True)
    assert not check or done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="session")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    ombud("keys", "signing", "new", "--out", folder)
    return folder / "signing.key", folder / "signing.pub"


@pytest.fixture(scope="session")
def trained(tmp_path_factory, keys):
    """The bundle of an example's recipe, signed."""
    made = {}

    def train(example, *settings):
        if (example, settings) not in made:
            out = tmp_path_factory.mktemp("models")
            recipe = ROOT / "examples" / example / "recipe.toml"
            done = ombud("train", recipe, "--out", out, "--key", keys[0], "--json", *settings)
            made[example, settings] = json.loads(done.stdout)
        return made[example, settings]

    return train
