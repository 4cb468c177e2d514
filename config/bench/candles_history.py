"""candles-history: pages of a thousand one-minute candles over HTTP, from anywhere and, warm, the newest."""

import gc
import http.client
import random
import time
from contextlib import closing
from datetime import datetime, timedelta

from django.db import connections

from config.bench import stage
from config.core import clock

INSTRUMENTS = 10
DAYS = 60
PAGES = 300
LIMIT = 1_000

FILL = """
INSERT INTO quotes_candle (instrument_id, interval_seconds, start, open, high, low, close, ticks,
                           first_at, first_seq, last_at, last_seq)
SELECT i.id, 60, at, 100, 101, 99, 100, 60, at, n * 60, at + interval '59 s', n * 60 + 59
FROM quotes_instrument i,
     generate_series(1, %s) WITH ORDINALITY AS minute(minute, n),
     LATERAL (SELECT %s::timestamptz + minute * interval '1 minute' AS at) a
"""


def run() -> stage.Row:
    """Measure each page from request to last byte."""
    market = stage.Market(INSTRUMENTS)
    begins = clock.now().replace(second=0, microsecond=0) - timedelta(days=DAYS)
    stage.say(f"writing {INSTRUMENTS * DAYS * 1440} candles")
    with connections["owner"].cursor() as cursor:
        cursor.execute(FILL, [DAYS * 1440, begins])
    stage.settled_tables()
    symbols = [instrument.symbol for instrument in market.instruments]
    with stage.web() as port:
        cold = _read(port, symbols, begins)
        warm = _read(port, symbols[:1], None)
    stage.say(f"warm: p50 {_ms(warm, 0.5):.1f} ms, p99 {_ms(warm, 0.99):.1f} ms")
    return stage.Row(
        "candles-history", PAGES / sum(cold), "pages/s", p50_ms=_ms(cold, 0.5), p99_ms=_ms(cold, 0.99)
    )


def _ms(seconds: list[float], share: float) -> float:
    return stage.percentile(seconds, share) * 1000


def _read(port: int, symbols: list[str], begins: datetime | None) -> list[float]:
    """Ask for pages that end anywhere in the history, or for the newest; after a few that warm the server."""
    chance = random.Random(1)  # noqa: S311 - not a secret: only where the pages lie
    seconds = []
    gc.collect()
    gc.freeze()  # this process's own collector is not what is measured
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        for number in range(PAGES + 20):
            path = f"/api/v1/instruments/{chance.choice(symbols)}/candles?interval=60&limit={LIMIT}"
            if begins is not None:
                end = begins + timedelta(minutes=chance.randint(LIMIT + 1, DAYS * 1440))
                path += f"&end={clock.iso(end)}"
            started = time.perf_counter()
            connection.request("GET", path, headers={"X-Forwarded-For": f"10.0.{number % 250}.1"})
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200 or body.count(b'"start"') != LIMIT:
                raise RuntimeError(f"a page was refused: {answer.status} {body[:200]!r}")
            if number >= 20:
                seconds.append(time.perf_counter() - started)
            time.sleep(0.06)  # within what one address may ask
    return seconds
