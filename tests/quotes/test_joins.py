"""Whoever joins at any moment has each tick in exactly one candle: snapshot, live messages, history."""

import json
import random
from collections import Counter
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from config.core import wire
from quotes import consumers, selectors
from quotes.live import LivePrices
from quotes.models import Instrument
from quotes.rules import bucket_start
from quotes.services import append_ticks, take_over
from quotes.services.ticks import Stretch
from tests.core.test_sockets import Client
from tests.quotes.market import Clock, at, instrument

FRAMES = (1, 5, 60)
JOINS = 1_000
Candle = dict[str, Any]


def recorded(seed: int, steps: int) -> list[Stretch]:
    """Make a stretch as a feed delivers it: batches, rests, heartbeats, some batches longer than a candle."""
    chance, now, price, found = random.Random(seed), 0.0, 110_000, []
    for _ in range(steps):
        ticks = []
        for _ in range(chance.choice([0, 1, 1, 2, 5, 12])):
            now += chance.choice([0.0007, 0.04, 0.3, 0.9, 2.1])
            price += chance.randint(-9, 9)
            ticks.append((at(round(now, 6)), Decimal(price) / 100_000))
        now += chance.choice([0.0, 0.001, 0.02, 0.02, 1.3, 6.0])
        found.append(Stretch(at(round(now, 6)), ticks, "replay", 0))
    return found


def plain(stretches: list[Stretch], frame: int) -> dict[str, Candle]:
    """Candles of all ticks the plain way: group and look."""
    groups: dict[datetime, list[tuple[int, Decimal]]] = {}
    ticks = [tick for stretch in stretches for tick in stretch.ticks]
    for seq, (instant, price) in enumerate(ticks, start=1):
        groups.setdefault(bucket_start(instant, frame), []).append((seq, price))
    return {
        f"{start:%Y-%m-%dT%H:%M:%S}.000000Z": {
            "open": f"{group[0][1]:.5f}",
            "high": f"{max(price for _, price in group):.5f}",
            "low": f"{min(price for _, price in group):.5f}",
            "close": f"{group[-1][1]:.5f}",
            "ticks": len(group),
            "last_seq": group[-1][0],
        }
        for start, group in groups.items()
    }


class Desk:
    """A client by the documents: of each candle it keeps the state that knows most, and reads what it missed.

    Ticks are numbered without a hole, so a candle holds the numbers (last_seq − ticks, last_seq], and one
    that does not begin where the one before ends says that something is missing.
    """

    def __init__(self, load: Any) -> None:
        self._load = load
        self.candles: dict[str, Candle] = {}
        self.pages = 0

    def take(self, candle: Candle | None) -> None:
        if candle is None:
            return
        known = self.candles.get(candle["start"])
        if known is None or candle["last_seq"] >= known["last_seq"]:
            fields = ("open", "high", "low", "close", "ticks", "last_seq")
            self.candles[candle["start"]] = {name: candle[name] for name in fields}

    def live(self, candle: Candle) -> None:
        self.take(candle)
        before = [each for start, each in self.candles.items() if start < candle["start"]]
        newest = max((each["last_seq"] for each in before), default=0)
        if newest != candle["last_seq"] - candle["ticks"]:
            self.load()

    def load(self) -> None:
        self.pages += 1
        for candle in self._load():
            self.take(candle)

    def numbers(self) -> Counter[int]:
        """Count how often each tick is in a candle."""
        return Counter(
            seq
            for each in self.candles.values()
            for seq in range(each["last_seq"] - each["ticks"] + 1, each["last_seq"] + 1)
        )


class Recorder:
    """The stretch played through the feed's own writer and publisher, and what could be read at each moment.

    Moments are the commits and the messages, in their order; a public snapshot is shared by all who ask
    between two commits, as the gateway shares it.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # Of each moment: what was published then, None at a commit; and how many commits there were.
        self.moments: list[tuple[dict[str, Any] | None, int]] = []
        self.snapshots: list[dict[int, Candle | None]] = []
        self.pages: list[dict[int, list[Candle]]] = []
        monkeypatch.setattr("quotes.live.publish_latest", self._publish)

    def _publish(self, messages: dict[str, Any]) -> None:
        said = json.loads(wire.encode(messages))
        self.moments.append((said, len(self.snapshots)))

    def play(self, made: Instrument, stretches: list[Stretch]) -> None:
        epoch, live = take_over([made.pk]), LivePrices()
        self._look(made)
        for stretch in stretches:
            written = append_ticks(epoch=epoch, stretches={made.pk: stretch})
            self._look(made)
            live.publish({made.symbol: (made.price_decimals, written[made.pk])})

    def _look(self, made: Instrument) -> None:
        self.snapshots.append(
            {frame: consumers.candle_snapshot(None, made.symbol, str(frame))["candle"] for frame in FRAMES}
        )
        self.pages.append(
            {
                frame: [
                    selectors.candle_row(candle, made.price_decimals)
                    for candle in selectors.candles_page(made, frame, limit=1_000)
                ]
                for frame in FRAMES
            }
        )
        self.moments.append((None, len(self.snapshots)))


@pytest.fixture
def made(db: None, open_noon: None, noon: Clock) -> Instrument:
    noon.move(-1)
    made = instrument()
    noon.move(1)
    return made


def joined(recorder: Recorder, frame: int, chance: random.Random) -> Desk:
    """Join at a random moment, hear with a random slowness, and follow to the end."""
    moments, channel = recorder.moments, f"candles:EURUSD:{frame}"
    joins = chance.randrange(len(moments))
    # The snapshot is read after joining, history whenever the client comes to it.
    snapshot_at = min(joins + chance.choice([0, 0, 1, 2, 7]), len(moments) - 1)
    loads_at = min(joins + chance.choice([0, 1, 3, 20]), len(moments) - 1)
    slowness = chance.choice([0.0, 0.3, 0.9])
    now = joins
    desk = Desk(lambda: recorder.pages[moments[now][1] - 1][frame])
    waiting: Candle | None = None
    for now in range(joins, len(moments)):
        said, commits = moments[now]
        if said is not None and channel in said:
            # The newest takes the place of the one not yet sent.
            waiting = said[channel]
        if now == snapshot_at:
            desk.take(recorder.snapshots[commits - 1][frame])
        if now == loads_at:
            desk.load()
        is_last = now == len(moments) - 1
        if now >= snapshot_at and waiting is not None and (is_last or chance.random() >= slowness):
            desk.live(waiting)
            waiting = None
    if waiting is not None:
        desk.live(waiting)
    return desk


def test_whoever_joins_at_any_moment_has_every_tick_in_one_candle(
    made: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    stretches = recorded(seed=1, steps=110)
    ticks = sum(len(stretch.ticks) for stretch in stretches)
    expected = {frame: plain(stretches, frame) for frame in FRAMES}
    recorder, chance = Recorder(monkeypatch), random.Random(2)
    recorder.play(made, stretches)
    reread = 0
    for number in range(JOINS):
        frame = FRAMES[number % 3]
        desk = joined(recorder, frame, chance)
        assert desk.numbers() == Counter(range(1, ticks + 1))
        assert desk.candles == expected[frame]
        reread += desk.pages - 1
    # Something was missed on the way, or the rule that finds it was not tried.
    assert reread > 100


def test_a_lost_message_without_reading_again_would_be_seen(
    made: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The comparison itself can fail: a client that never reads again misses ticks."""
    stretches = recorded(seed=1, steps=60)
    recorder, chance = Recorder(monkeypatch), random.Random(2)
    recorder.play(made, stretches)
    monkeypatch.setattr(Desk, "load", lambda desk: None)
    found = [joined(recorder, 1, chance).candles == plain(stretches, 1) for _ in range(20)]
    assert not all(found)


# --- through the socket -------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
async def test_through_the_socket_itself(open_noon: None, noon: Clock, settings: Any) -> None:
    settings.SOCKET_ORIGINS = ["http://127.0.0.1:8000"]
    noon.move(-1)
    made = await sync_to_async(instrument)()
    noon.move(1)
    epoch, live = await sync_to_async(take_over)([made.pk]), LivePrices()
    stretches, chance = recorded(seed=3, steps=40), random.Random(4)

    def page(frame: int) -> list[Candle]:
        rows = selectors.candles_page(made, frame, limit=1_000)
        return [selectors.candle_row(row, made.price_decimals) for row in rows]

    def step(stretch: Stretch) -> None:
        written = append_ticks(epoch=epoch, stretches={made.pk: stretch})
        live.publish({made.symbol: (made.price_decimals, written[made.pk])})

    clients: list[tuple[int, Client, list[Candle]]] = []
    for number, stretch in enumerate(stretches):
        if number % 7 == 3:
            frame = FRAMES[len(clients) % 3]
            client = await Client().opened()
            await client.say(op="subscribe", channels=[f"candles:EURUSD:{frame}"])
            clients.append((frame, client, []))
        await sync_to_async(step)(stretch)
        if chance.random() < 0.5:
            for _, client, heard in clients:
                while not await client.receive_nothing(0.02, 0.005):
                    heard.append(await client.hear())
    spoken = 0
    for frame, client, heard in clients:
        while not await client.receive_nothing(0.2, 0.02):
            heard.append(await client.hear())
        await client.disconnect()
        desk = Desk(list)
        # History is read last here: what the socket brought and what was stored meet by the numbers.
        for message in heard:
            desk.take(message["candle"] if message["type"] == "snapshot" else message)
        assert heard[0]["type"] == "snapshot"
        for candle in await sync_to_async(page)(frame):
            desk.take(candle)
        assert desk.candles == plain(stretches, frame)
        assert set(desk.numbers().values()) == {1}
        told = [message for message in heard if message["type"] == "candle"]
        assert told == sorted(told, key=lambda message: (message["start"], message["last_seq"]))
        spoken += len(told)
    assert spoken > 3 * len(clients)
