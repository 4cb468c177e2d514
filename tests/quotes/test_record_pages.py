"""The public record, read by a stranger: pages, API, files, and the recipe that recomputes them."""

import gc
import html
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from config.embedded.environment import ROOT
from quotes import history
from quotes.api import RecordFileView
from quotes.archive import ArchiveFailed
from quotes.models import RecordDay, RecordPart
from quotes.services.archive import seal_day
from tests.cast import client_for
from tests.quotes import record
from tests.quotes.market import NOON
from tests.quotes.record import DAY, NEXT, Recorded, are_free, part_of

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])
declared, folder, recorded = record.declared, record.folder, record.recorded


@pytest.fixture
def sealed(recorded: Recorded) -> RecordDay:
    recorded.pass_midnight()
    found = seal_day(day=DAY)
    assert found is not None
    return found


def body_of(response: Any) -> bytes:
    return b"".join(response.streaming_content)


# --- API ------------------------------------------------------------------------------------------------


def test_an_empty_record_is_an_empty_list(db: None) -> None:
    answer = client_for().get("/api/v1/record")
    assert (answer.status_code, answer.json()) == (200, {"results": [], "next": None})


def test_days_are_listed_by_cursor(recorded: Recorded, sealed: RecordDay) -> None:
    recorded.clock.move(2 * 86_400)
    later = seal_day(day=NEXT)
    client = client_for()
    first = client.get("/api/v1/record?limit=1").json()
    assert [row["day"] for row in first["results"]] == ["2030-03-06"]
    assert first["results"][0]["root"] == bytes(later.root).hex()
    second = client.get("/api/v1/record", {"limit": 1, "cursor": first["next"]}).json()
    assert second == {
        "results": [
            {
                "day": "2030-03-05",
                "root": bytes(sealed.root).hex(),
                "ticks": 63,
                "instruments": 2,
                "is_backfilled": False,
                "sealed_at": "2030-03-06T00:05:00.000000Z",
            }
        ],
        "next": None,
    }
    assert client.get("/api/v1/record?cursor=nonsense").json()["code"] == "invalid"


def test_a_day_is_what_its_root_is_made_of(recorded: Recorded, sealed: RecordDay) -> None:
    answer = client_for().get("/api/v1/record/2030-03-05").json()
    part = part_of(recorded.usdjpy)
    assert answer["parts"][1] == {
        "symbol": "USDJPY",
        "price_decimals": 3,
        "ticks": 3,
        "first_at": "2030-03-05T12:00:01.000000Z",
        "first_seq": 1,
        "last_at": "2030-03-05T12:00:05.000000Z",
        "last_seq": 3,
        "head": bytes(part.head).hex(),
        "file": "/api/v1/record/2030-03-05/USDJPY",
        "file_bytes": part.file_bytes,
        "file_sha256": bytes(part.file_sha256).hex(),
    }
    lines = "".join(f"{each['symbol']}|{each['ticks']}|{each['head']}\n" for each in answer["parts"])
    assert sha256(f"tickhouse:day:1\n2030-03-05\n{lines}".encode()).hexdigest() == answer["root"]


@pytest.mark.parametrize(
    "day", ["2030-03-04", "2030-3-5", "20300305", "2030-W10-2", "today", "2030-03-05%00"]
)
def test_there_is_no_such_day(sealed: RecordDay, day: str) -> None:
    for address in (f"/api/v1/record/{day}", f"/api/v1/record/{day}/EURUSD"):
        answer = client_for().get(address)
        assert (answer.status_code, answer.json()["code"]) == (404, "missing")
    assert Client().get(f"/record/{day}/").status_code == 404


def test_a_file_is_downloaded_as_it_was_sealed(recorded: Recorded, sealed: RecordDay, folder: Path) -> None:
    part = part_of(recorded.eurusd)
    answer = client_for().get("/api/v1/record/2030-03-05/EURUSD")
    assert answer.status_code == 200
    assert answer["Content-Type"] == "application/vnd.apache.parquet"
    assert answer["Content-Disposition"] == 'attachment; filename="EURUSD-2030-03-05.parquet"'
    assert answer["Content-Length"] == str(part.file_bytes)
    assert answer["Cache-Control"] == "public, max-age=31536000, immutable"
    assert "RateLimit-Remaining" in answer.headers
    content = body_of(answer)
    assert content == (folder / part.file).read_bytes()
    assert sha256(content).hexdigest() == bytes(part.file_sha256).hex() == answer["ETag"].strip('"')
    missing = client_for().get("/api/v1/record/2030-03-05/GBPUSD")
    assert (missing.status_code, missing.json()["code"]) == (404, "missing")


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(b"short")])
def test_a_file_that_cannot_be_had_whole_is_refused(
    recorded: Recorded, sealed: RecordDay, folder: Path, harm: Any
) -> None:
    harm(folder / part_of(recorded.eurusd).file)
    answer = client_for().get("/api/v1/record/2030-03-05/EURUSD")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert answer["Retry-After"] == "30"
    assert str(folder) not in answer.content.decode()


def test_downloads_are_counted_apart(sealed: RecordDay) -> None:
    client = client_for()
    answers = []
    for _ in range(RecordFileView.throttle.burst + 1):
        answers.append(client.get("/api/v1/record/2030-03-05/USDJPY"))
        answers[-1].close()
    assert {answer.status_code for answer in answers[:-1]} == {200}
    assert (answers[-1].status_code, answers[-1].json()["code"]) == (429, "too_many")
    assert client.get("/api/v1/record").status_code == 200


def test_two_are_downloaded_at_once_and_a_place_comes_back_whatever_happens(
    sealed: RecordDay, folder: Path
) -> None:
    client, address = client_for(), "/api/v1/record/2030-03-05/EURUSD"
    first, second = client.get(address), client.get(address)
    assert (first.status_code, second.status_code) == (200, 200)
    third = client.get(address)
    assert (third.status_code, third.json()["code"], third["Retry-After"]) == (503, "unavailable", "1")
    # Closed before anything was read, and twice.
    first.close()
    first.close()
    # Read to its end.
    read = client.get(address)
    assert len(body_of(read)) == int(read["Content-Length"])
    # Never closed by anybody.
    lost = client.get(address)
    assert lost.status_code == 200
    del lost, read
    gc.collect()
    # Refused, as it cannot be had.
    other = next(folder.glob("2030-03-05/USDJPY-*"))
    other.rename(other.with_suffix(".away"))
    for _ in range(3):
        assert client.get("/api/v1/record/2030-03-05/USDJPY")["Retry-After"] == "30"
    again = client.get(address)
    assert again.status_code == 200
    second.close()
    again.close()
    # Broken off in the middle.
    part = RecordPart.objects.get(instrument__symbol="EURUSD")
    for _ in range(3):
        download = history.file_of(part)
        download._chunks = iter(Breaking())
        with pytest.raises(ArchiveFailed):
            list(download)
    assert are_free()


class Breaking:
    """A storage that is away after the first piece."""

    def __iter__(self) -> Iterator[bytes]:
        yield b"first"
        raise ArchiveFailed("away")


# --- Pages ----------------------------------------------------------------------------------------------


def test_the_page_of_an_empty_record_says_so(db: None) -> None:
    assert "No day is sealed yet" in Client().get("/record/").content.decode()
    assert "The record begins later" in Client().get("/record/?before=2030-01-01").content.decode()
    assert Client().get("/record/?before=yesterday").status_code == 404


def test_the_page_lists_days_and_a_day_its_instruments(recorded: Recorded, sealed: RecordDay) -> None:
    page = Client().get("/record/").content.decode()
    assert '<a href="/record/2030-03-05/">2030-03-05</a>' in page
    assert bytes(sealed.root).hex() in page
    assert "from a file" not in page
    page = Client().get("/record/2030-03-05/").content.decode()
    assert "12:00:00 – 12:00:59" in page
    for made in (recorded.eurusd, recorded.usdjpy):
        assert bytes(part_of(made).head).hex() in page
        assert f'href="/api/v1/record/2030-03-05/{made.symbol}"' in page


def test_older_days_are_a_page_further(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quotes.views.DAYS_A_PAGE", 2)
    for back in range(5):
        RecordDay.objects.create(day=DAY - timedelta(days=back), root=b"\x01" * 32, sealed_at=NOON)
    seen, address = [], "/record/"
    while address:
        page = Client().get(address).content.decode()
        seen += re.findall(r">(2030-\d\d-\d\d)</a>", page)
        onward = re.search(r'href="(\?before=[^"]+)"', page)
        address = f"/record/{onward[1]}" if onward else ""
    assert seen == [str(DAY - timedelta(days=back)) for back in range(5)]


def recipe_of_the_page() -> str:
    page = Client().get("/record/2030-03-05/").content.decode()
    return html.unescape(re.findall(r"<pre[^>]*><code>(import sys.*?)</code></pre>", page, re.DOTALL)[0])


def recipes_of_the_document() -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "record.md").read_text(), re.DOTALL)


def run(recipe: str, *arguments: str, given: str = "") -> str:
    done = subprocess.run(
        [sys.executable, "-c", recipe, *arguments], input=given, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_anybody_recomputes_head_and_root_with_the_published_lines(
    recorded: Recorded, sealed: RecordDay, tmp_path: Path
) -> None:
    of_head, of_root = recipes_of_the_document()
    file = tmp_path / "EURUSD.parquet"
    file.write_bytes(body_of(client_for().get("/api/v1/record/2030-03-05/EURUSD")))
    head = bytes(part_of(recorded.eurusd).head).hex()
    for recipe in (of_head, recipe_of_the_page()):
        assert run(recipe, str(file), "EURUSD", "2030-03-05", "5") == head
    day = client_for().get("/api/v1/record/2030-03-05").json()
    assert run(of_root, given=json.dumps(day)) == "True"
    day["parts"][0]["ticks"] += 1
    assert run(of_root, given=json.dumps(day)) == "False"


def test_the_record_is_described(db: None) -> None:
    schema = client_for().get("/api/schema").content.decode()
    for operation in ("list_record", "get_record_day", "get_record_file"):
        assert f"operationId: {operation}\n" in schema
    assert "application/vnd.apache.parquet:" in schema
