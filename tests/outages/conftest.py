"""The hosts of a test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.outages.hosts import Host, hosts


@pytest.fixture
def pair(tmp_path: Path, empty_database: str) -> Iterator[list[Host]]:
    """Two hosts that share a database."""
    with hosts(tmp_path, empty_database) as made:
        yield made
