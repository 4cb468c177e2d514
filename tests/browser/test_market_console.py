"""The console's market pages in a browser: the inspector draws, panels refresh, nothing overflows."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.urls import reverse

from config.core import clock
from quotes.models import SourceState
from quotes.services import Stretch, append_ticks, open_days, record_gap, take_over
from quotes.services.sources import create_source
from tests.cast import browser_for
from tests.quotes.market import NOON, Clock, at, instrument

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])


@pytest.fixture
def recorded(olga):
    """Ticks of half a minute with a gap in them, and a source that is down."""
    stands = Clock(at(0))
    open_days([NOON.date()])
    with clock.ticking(stands):
        made = instrument(price_decimals=5)
        epoch = take_over([made.pk])
        for first, count in ((10, 40), (28, 40)):
            stands.move(first)
            record_gap(instrument_id=made.pk, ends_at=at(first - 0.001), reason="feed_down")
            rows = [(at(first + n / 4), Decimal("1.085") + Decimal(n % 7) / 100_000) for n in range(count)]
            append_ticks(epoch=epoch, stretches={made.pk: Stretch(rows[-1][0], rows, "replay", 0)})
    create_source(
        code="kraken", kind="kraken", name="Kraken", url="wss://ws.kraken.com/v2", actor=olga, reason="test"
    )
    SourceState.objects.create(
        source="kraken", state="down", last_error="refused " * 30, updated_at=clock.now()
    )
    return made


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (360, "dark")])
def test_the_inspector_draws_and_the_pages_fit(
    chromium, recorded, live_server, settings, olga, width, scheme
):
    made = recorded
    cookie = browser_for(olga, verified=True).cookies[settings.SESSION_COOKIE_NAME].value
    context = chromium.new_context(
        base_url=live_server.url, viewport={"width": width, "height": 800}, color_scheme=scheme
    )
    context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": cookie, "url": live_server.url}])
    page, said = context.new_page(), []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))

    ticks = reverse("admin:quotes_instrument_ticks", args=[made.pk])
    page.goto(f"{ticks}?at={clock.iso(at(24))}&span=60")
    page.wait_for_selector("#tick-chart canvas")
    page.wait_for_selector("#tick-candles canvas")
    # Something is drawn in the chart's own colour, and the tick in force is in view.
    drawn = page.evaluate(
        """() => [...document.querySelectorAll("#tick-chart canvas")].some((canvas) => {
            const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            for (let i = 0; i < data.length; i += 4)
                if (data[i + 3] > 200 && data[i + 1] > data[i] + 60) return true;
            return false;
        })"""
    )
    assert drawn
    assert page.locator("#tick-rows tr").count() == 81
    for path in (
        ticks,
        reverse("admin:quotes_instrument_change", args=[made.pk]),
        reverse("admin:quotes_source_dry_run", args=["kraken"]),
        reverse("admin:quotes_calendar_import_exceptions", args=["always"]),
        reverse("admin:quotes_source_change", args=["kraken"]),
    ):
        page.goto(path, wait_until="load")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
    with page.expect_response("**/source/kraken/live/") as refreshed:
        SourceState.objects.update(state="up", updated_at=clock.now() + timedelta(minutes=1))
    assert refreshed.value.status == 200
    page.get_by_text("Connected", exact=True).first.wait_for()
    assert said == []
    context.close()
