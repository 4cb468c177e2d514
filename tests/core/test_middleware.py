"""Every request has an id, known to the caller, the log and the audit trail."""

import pytest
from django.test import Client
from structlog.contextvars import get_contextvars
from structlog.testing import capture_logs


def test_an_answer_names_its_request(db: None) -> None:
    answer = Client().get("/api/v1/time")
    assert len(answer["X-Request-Id"]) == 36
    assert get_contextvars() == {}


def test_a_proxys_id_is_kept_and_a_forged_one_is_not(db: None) -> None:
    client = Client()
    assert client.get("/api/v1/time", headers={"X-Request-Id": "from-the-proxy-1"})["X-Request-Id"] == (
        "from-the-proxy-1"
    )
    forged = client.get("/api/v1/time", headers={"X-Request-Id": "x\ty"})["X-Request-Id"]
    assert len(forged) == 36


@pytest.mark.parametrize(("path", "lines"), [("/api/v1/time", 0), ("/api/v1/nothing", 1)])
def test_refusals_are_logged_and_answers_are_not(db: None, path: str, lines: int) -> None:
    with capture_logs() as told:
        Client().get(path, headers={"Authorization": "Bearer secret"})
    refused = [line for line in told if line["event"] == "request refused"]
    assert len(refused) == lines
    assert "secret" not in str(refused)
