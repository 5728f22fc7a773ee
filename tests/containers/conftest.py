"""Real images on a real engine; tests here are skipped only where no Docker engine can be had."""

from __future__ import annotations

import pytest
from containers.images import build_image, engine_answers


@pytest.fixture(scope="session")
def engine() -> None:
    """A Docker engine; test.sh starts one where it may."""
    if not engine_answers():
        pytest.skip("no Docker engine answers (docker/engine.sh start)")


@pytest.fixture(scope="session")
def lookup_image(engine: None) -> str:
    """The yardstick as an exec image."""
    return build_image("synthct-test/lookup-table:exec", "lookup-table")


@pytest.fixture(scope="session")
def lookup_invoke_image(engine: None) -> str:
    """The yardstick as an invoke image."""
    return build_image("synthct-test/lookup-table:invoke", "lookup-table", "--api", "invoke")


@pytest.fixture(scope="session")
def routed_image(engine: None) -> str:
    """Two algorithms in one image."""
    return build_image("synthct-test/routed:exec", "--algorithms", "lookup-table,pix2pix-pelvis")


@pytest.fixture(scope="session")
def evaluation_image(engine: None) -> str:
    """The evaluation as an exec image."""
    return build_image("synthct-test/evaluation:exec", "evaluation")


@pytest.fixture(scope="session")
def evaluation_invoke_image(engine: None) -> str:
    """The evaluation as an invoke image."""
    return build_image("synthct-test/evaluation:invoke", "evaluation", "--api", "invoke")
