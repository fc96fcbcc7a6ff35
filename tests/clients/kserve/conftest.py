"""The server that the tests of this folder ask."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import house as houses  # noqa: E402  (found by the line before)


@pytest.fixture(scope="session")
def house(tmp_path_factory):
    with houses.serving(tmp_path_factory.mktemp("house")) as serving:
        yield serving
