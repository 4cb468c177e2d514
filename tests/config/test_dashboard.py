from datetime import timedelta
from decimal import Decimal

import pytest
from django.core.management import call_command

from config import dashboard
from config.core import clock
from config.core.models import Fact
from payments.ledger.models import Account, Book, LedgerCheck
from quotes.models import Instrument, SourceState
from tests.cast import browser_for, fund, later
from trading.models import Exposure

pytestmark = pytest.mark.django_db


@pytest.fixture
def seeded(settings, tmp_path):
    settings.DATA_DIR = tmp_path
    call_command("seed_platform")
    Fact.objects.update(published_at=clock.now())


def tiles():
    return {tile.title: tile for tile in dashboard.figures()["tiles"]}


def test_a_silent_feed_an_untold_fact_and_an_unchecked_ledger_are_red(seeded):
    assert tiles()["Ledger check"].value == "never ran"
    assert tiles()["Facts untold for"].state == "good"
    Fact.objects.filter(pk=Fact.objects.first().pk).update(published_at=None)
    LedgerCheck.objects.create(
        started_at=clock.now(), finished_at=clock.now(), is_whole=True, xid_before=1, differences=[]
    )
    assert (tiles()["Ledger check"].value, tiles()["Ledger check"].state) == ("clean", "good")
    with later(timedelta(minutes=6)):
        seen = dashboard.figures()
        assert {tile.title for tile in seen["tiles"] if tile.state == "bad"} == {
            "Facts untold for",
            "Ledger check",
        }
        assert [feed.symbol for feed in seen["feeds"] if not feed.is_fresh] == [
            "BTCUSDT",
            "EURUSD",
            "VOL100",
            "VOL50",
        ]


def test_a_difference_is_red_and_counted(seeded):
    LedgerCheck.objects.create(
        started_at=clock.now(),
        finished_at=clock.now(),
        is_whole=False,
        xid_before=1,
        differences=[{"what": "balance"}],
    )
    assert (tiles()["Ledger check"].value, tiles()["Ledger check"].state) == ("1 difference", "bad")


def test_the_house_of_each_book_is_shown_apart(seeded, bob):
    book = Book.objects.get(code="real-usd")
    house = Account.objects.get(book=book, owner=None, code="house")
    fund(house, "250.50")
    rows = {row.book.code: row for row in dashboard.figures()["books"]}
    assert rows["real-usd"].house == Decimal("250.50")
    assert rows["demo"].house == Decimal("0.00")


def test_the_sources_say_how_they_fare_and_an_old_word_counts_for_nothing(seeded, olga):
    now = clock.now()
    SourceState.objects.create(source="simulated", state="up", quotes_per_second=8, updated_at=now)
    SourceState.objects.create(source="kraken", state="down", last_error="refused <b>", updated_at=now)
    SourceState.objects.create(source="idle-one", state="idle", updated_at=now)
    with clock.ticking(lambda: now):
        found = {row.code: (row.word, row.state) for row in dashboard.figures()["sources"]}
        page = browser_for(olga, verified=True).get("/admin/live/").content.decode()
    assert found == {"simulated": ("up", "good"), "kraken": ("down", "bad"), "idle-one": ("idle", "plain")}
    assert "refused &lt;b&gt;" in page
    assert "8.0/s" in page
    with clock.ticking(lambda: now + timedelta(seconds=6)):
        later_on = dashboard.figures()["sources"]
    assert {row.state for row in later_on} == {"bad"}
    assert {row.quotes_per_second for row in later_on} == {0.0}
    assert all(row.word == f"unknown since {now:%H:%M:%S}" for row in later_on)


def test_it_costs_the_same_however_much_there_is(seeded, olga, django_assert_max_num_queries):
    browser = browser_for(olga, verified=True)
    assert browser.get("/admin/live/").status_code == 200
    with django_assert_max_num_queries(25):
        live = browser.get("/admin/live/").content.decode()
    assert "EURUSD" in live
    assert "<html" not in live


def test_the_heat_map_shows_the_hottest_first(seeded, olga):
    book, instruments = Book.objects.get(code="demo"), list(Instrument.objects.order_by("symbol"))
    for instrument, side, count, profit in (
        (instruments[0], "up", 2, "50.00"),
        (instruments[1], "down", 1, "200.00"),
        (instruments[0], "down", 1, "100.00"),
        (instruments[2], "up", 0, "0"),
    ):
        Exposure.objects.create(
            book=book, instrument=instrument, side=side, open_orders=count, stakes=Decimal(10), profit=profit
        )
    heat = dashboard.figures()["heat"]
    assert [
        (row.symbol, [(cell.side, str(cell.profit), cell.heat_percent) for cell in row.cells]) for row in heat
    ] == [
        (instruments[1].symbol, [("down", "200.00", 100)]),
        (instruments[0].symbol, [("down", "100.00", 50), ("up", "50.00", 25)]),
    ]
    page = browser_for(olga, verified=True).get("/admin/").content.decode()
    assert "At risk beyond stakes" in page
    assert "200.00" in page
