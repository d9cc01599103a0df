"""What the tests of real models share: one processor."""

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def _one_processor(worker_id: str) -> Iterator[None]:
    """llama.cpp's threads wait for each other by spinning: two of them beside other work crawl."""
    before = os.sched_getaffinity(0)
    number = int(worker_id.removeprefix("gw")) if worker_id != "master" else 0
    os.sched_setaffinity(0, {sorted(before)[number % len(before)]})
    yield
    os.sched_setaffinity(0, before)
