"""A configured source, and a look into its rows from an event loop."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from config.core import clock
from quotes.models import FixMessage, FixReject, FixSession, Source
from quotes.sources.fix.sender import stored


@pytest.fixture
def lp(transactional_db: None) -> Source:
    return Source.objects.create(
        code="lp", kind="fix", name="Provider", url="127.0.0.1:1", changed_at=clock.now()
    )


@pytest.fixture
def numbers(lp: Source) -> Callable[[], Awaitable[tuple[int, int]]]:
    """Return what is kept: the peer's next number and ours."""
    return partial(stored, lambda: FixSession.objects.values_list("next_in", "next_out").get(pk="lp"))


@pytest.fixture
def rejects(lp: Source) -> Callable[[], Awaitable[list[Any]]]:
    """Return kind, reference and text of what was refused, the oldest first."""
    rows = FixReject.objects.order_by("id").values_list("kind", "ref_seq", "text")
    return partial(stored, lambda: list(rows.all()))


@pytest.fixture
def sent(lp: Source) -> Callable[[], Awaitable[list[int]]]:
    """Return the numbers of the messages kept."""
    return partial(stored, lambda: list(FixMessage.objects.values_list("seq", flat=True)))
