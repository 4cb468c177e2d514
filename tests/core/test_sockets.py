"""The private socket: who is let in, what is said in which order, and what a bad client gets."""

import asyncio
import json
import threading

import pytest
from asgiref.sync import sync_to_async
from autobahn.exception import Disconnected
from channels.layers import get_channel_layer
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import AnonymousUser
from django.db import transaction

from config.core import consumers, outbox, prices, sockets
from config.core.consumers import PrivateSocket
from config.core.errors import Missing
from config.core.facts import FactData, fact
from config.core.relay import Relay

pytestmark = pytest.mark.django_db(transaction=True)
PAGE = b"http://127.0.0.1:8000"


@fact("test.moved")
class Moved(FactData):
    """A private fact of these tests."""

    n: int


class Person(AnonymousUser):
    is_authenticated = True

    def __init__(self, pk):
        self.pk = self.id = pk


ALICE, MALLORY, NOBODY = Person(1), Person(2), AnonymousUser()


@pytest.fixture(autouse=True)
def channels_of_the_test(monkeypatch, settings):
    settings.SOCKET_ORIGINS = [PAGE.decode()]
    monkeypatch.setattr(sockets, "_kinds", [])
    monkeypatch.setattr(sockets, "_wildcards", set())
    consumers._open.clear()
    sockets.register(
        "account",
        snapshot=lambda user: {"owner": user.pk},
        topic=lambda user: outbox.customer_topic(user.pk),
        may=lambda user: True,
    )
    sockets.register(
        "vault:<owner>", snapshot=lambda user, owner: {}, may=lambda user, owner: owner == str(user.pk)
    )
    sockets.register("quotes:<symbol>", snapshot=quote)
    sockets.register("instruments", snapshot=lambda user: {"instruments": []}, topic="instrument:*")


def quote(_user, symbol):
    if symbol == "NOTHING":
        raise Missing(f"There is no {symbol}.")
    if symbol == "BROKEN":
        raise ValueError("secret")
    return {"last": None, "symbol": symbol}


class Client(WebsocketCommunicator):
    def __init__(self, user=NOBODY, origin=PAGE, headers=(), query="", **scope):
        named = [(b"origin", origin)] if origin else []
        super().__init__(self._app, f"/ws/v1/{query}", headers=[*named, *headers])
        self.scope.update(user=user, client=["192.0.2.1", 5], **scope)
        self.is_gone = False

    async def _app(self, scope, receive, send):
        async def send_as_the_server_does(message):
            if self.is_gone and message["type"] == "websocket.send":
                raise Disconnected("Attempt to send on a closed protocol")
            self.is_gone = self.is_gone or message["type"] == "websocket.close"
            await send(message)

        await PrivateSocket.as_asgi()(scope, receive, send_as_the_server_does)

    async def opened(self):
        assert (await self.connect())[0]
        return self

    async def say(self, **message):
        await self.send_to(text_data=json.dumps(message))

    async def hear(self, seconds=3):
        return json.loads(await self.receive_from(seconds))

    async def subscribe(self, *channels):
        await self.say(op="subscribe", channels=list(channels))
        return [await self.hear() for _ in channels]

    async def closed_with(self):
        while (event := await self.receive_output(3))["type"] != "websocket.close":
            pass
        return event["code"]

    async def leave(self):
        """Go, and see that nothing stays behind; raises what the consumer died of."""
        await self.disconnect()
        await asyncio.sleep(0)
        assert not consumers._open
        assert not prices.hub()._everybody
        assert not prices.hub()._listeners
        assert not get_channel_layer()._get_layer().groups
        assert not [task for task in asyncio.all_tasks() if "_send_waiting" in repr(task)]


@sync_to_async
def publish(topic, *numbers):
    with transaction.atomic():
        outbox.publish_many([(topic, Moved(n=n)) for n in numbers])
    Relay().step()


send_prices = sync_to_async(prices.publish_latest)


# --- Who is let in ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "origin", "headers", "query", "welcome"),
    [
        (ALICE, PAGE, (), "", True),
        (ALICE, b"https://evil.example", (), "", False),
        (NOBODY, b"https://evil.example", (), "", False),
        (ALICE, b"null", (), "", False),
        (ALICE, None, (), "", False),
        (ALICE, None, ((b"authorization", b"Bearer x"),), "", True),
        (ALICE, b"https://evil.example", ((b"authorization", b"Bearer x"),), "", False),
        (ALICE, None, (), "?ticket=x", True),
        (NOBODY, None, (), "", True),
    ],
)
async def test_a_cookie_counts_only_on_our_own_pages(user, origin, headers, query, welcome):
    client = Client(user, origin, headers, query)
    assert (await client.connect())[0] is welcome
    await client.disconnect()


async def test_one_person_holds_so_many_sockets_and_no_more(settings):
    settings.SOCKETS_PER_USER = 2
    first, second = await Client(ALICE).opened(), await Client(ALICE).opened()
    assert not (await Client(ALICE).connect())[0]
    other = await Client(MALLORY).opened()
    await first.disconnect()
    third = await Client(ALICE).opened()
    for client in (second, third, other):
        await client.disconnect()
    assert not consumers._open


@pytest.mark.parametrize(
    ("lines", "counted"),
    [
        ([b"203.0.113.9"], "203.0.113.9"),
        ([b"198.51.100.1", b"203.0.113.9"], "203.0.113.9"),
        ([b"198.51.100.1, 198.51.100.2", b"2001:db8:1:2:3::4"], "2001:db8:1:2::"),
    ],
)
async def test_strangers_are_counted_by_the_address_their_proxy_saw(settings, lines, counted):
    settings.TRUSTED_PROXIES = 1
    client = await Client(NOBODY, headers=[(b"x-forwarded-for", line) for line in lines]).opened()
    assert dict(consumers._open) == {counted: 1}
    await client.leave()


async def test_a_sign_in_that_ended_while_the_socket_opened_is_not_let_stay():
    async def is_signed_in():
        # Its end could be heard by now: what comes later arrives as a fact.
        assert get_channel_layer()._get_layer().groups
        return False

    client = await Client(ALICE, sign_in="session:a", is_signed_in=is_signed_in).opened()
    assert await client.closed_with() == 4401
    await client.leave()


# --- What is said -------------------------------------------------------------------------------------


async def test_the_snapshot_comes_first_and_then_every_fact_in_order():
    client = await Client(ALICE).opened()
    (snapshot,) = await client.subscribe("account")
    assert snapshot.items() >= {"v": 1, "type": "snapshot", "channel": "account", "owner": 1}.items()
    assert snapshot["at"].endswith("Z")
    await publish("customer:1", 1, 2, 3)
    facts = [await client.hear() for _ in range(3)]
    assert [(m["channel"], m["type"], m["n"]) for m in facts] == [
        ("account", "test.moved", n) for n in (1, 2, 3)
    ]
    assert all(m["v"] == 1 and m["seq"] == m["id"] for m in facts)
    assert facts[0]["seq"] < facts[1]["seq"] < facts[2]["seq"]
    await client.disconnect()


async def test_what_happens_while_the_snapshot_is_read_comes_after_it(monkeypatch):
    reading, go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(user):
        loop.call_soon_threadsafe(reading.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(5)
        return {"slow": True}

    sockets.register("slow", snapshot=slow, topic="slow:1")
    client = await Client(ALICE).opened()
    await client.say(op="subscribe", channels=["slow"])
    await asyncio.wait_for(reading.wait(), 3)
    # From another thread than the one the snapshot is read in.
    await asyncio.to_thread(_publish_now, "slow:1", 9)
    go_on.set()
    assert (await client.hear())["type"] == "snapshot"
    assert (await client.hear())["n"] == 9
    await client.disconnect()


def _publish_now(topic, n):
    with transaction.atomic():
        outbox.publish(topic, Moved(n=n))
    Relay().step()
    transaction.get_connection().close()


async def test_nobody_hears_what_is_anothers():
    alice, mallory = await Client(ALICE).opened(), await Client(MALLORY).opened()
    await alice.subscribe("account")
    await mallory.subscribe("account")
    (refused,) = await mallory.subscribe("vault:1")
    assert (refused["type"], refused["code"], refused["channel"]) == ("error", "forbidden", "vault:1")
    await publish("customer:1", 5)
    assert (await alice.hear())["n"] == 5
    assert await mallory.receive_nothing(0.3)
    for client in (alice, mallory):
        await client.disconnect()


async def test_a_stranger_hears_prices_and_is_turned_away_from_the_rest():
    client = await Client(NOBODY).opened()
    (snapshot,) = await client.subscribe("quotes:EURUSD")
    assert snapshot["symbol"] == "EURUSD"
    (refused,) = await client.subscribe("account")
    assert (refused["type"], refused["status"], refused["code"]) == ("error", 401, "unauthenticated")
    assert await client.closed_with() == 4401


async def test_facts_of_every_instrument_reach_one_channel():
    client = await Client(NOBODY).opened()
    await client.subscribe("instruments")
    await publish("instrument:EURUSD", 1)
    await publish("instrument:BTCUSDT", 2)
    assert [(m["channel"], m["n"]) for m in [await client.hear(), await client.hear()]] == [
        ("instruments", 1),
        ("instruments", 2),
    ]
    await client.disconnect()


async def test_after_unsubscribing_it_is_quiet():
    client = await Client(ALICE).opened()
    await client.subscribe("account", "quotes:EURUSD")
    await client.say(op="unsubscribe", channels=["account", "quotes:EURUSD", "never:was"])
    await client.say(op="ping")
    assert (await client.hear())["type"] == "pong"
    await publish("customer:1", 1)
    await send_prices({"quotes:EURUSD": {"type": "quote", "price": "1"}})
    assert await client.receive_nothing(0.3)
    await client.disconnect()


async def test_signing_out_ends_the_sockets_of_that_sign_in():
    from kyc.facts import CustomerSignedOut

    one = await Client(ALICE, sign_in="session:a").opened()
    other = await Client(ALICE, sign_in="session:b").opened()

    @sync_to_async
    def sign_out(sign_in):
        with transaction.atomic():
            outbox.publish("customer:1", CustomerSignedOut(customer=1, sign_in=sign_in, reason="test"))
        Relay().step()

    await sign_out("session:a")
    assert await one.closed_with() == 4401
    await other.say(op="ping")
    assert (await other.hear())["type"] == "pong"
    await sign_out(None)
    assert await other.closed_with() == 4401


# --- Bad clients --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "1",
        '{"op": "explode"}',
        '{"op": "subscribe"}',
        '{"op": "subscribe", "channels": "account"}',
        '{"op": ["ping"]}',
        json.dumps({"op": "subscribe", "channels": ["x"] * 65}),
        '{"op": "unsubscribe", "channels": [[]]}',
        '{"op": "subscribe", "channels": [{}]}',
        '{"op": "subscribe", "channels": ["account", null]}',
    ],
)
async def test_nonsense_is_answered_with_a_problem_and_the_socket_lives(text):
    client = await Client(ALICE).opened()
    await client.subscribe("account", "quotes:EURUSD")
    await client.send_to(text_data=text)
    refused = await client.hear()
    assert (refused["type"], refused["code"]) == ("error", "invalid")
    await client.say(op="ping")
    assert (await client.hear())["type"] == "pong"
    await client.leave()


@pytest.mark.parametrize(
    "name", ["nonsense", "quotes:", "quotes:A/B", "quotes:A:B", 'quotes:"', 7, None, {"a": 1}, ["account"]]
)
async def test_channels_nobody_declared_are_refused_by_name(name):
    client = await Client(ALICE).opened()
    await client.subscribe("account", "quotes:EURUSD")
    (refused,) = await client.subscribe(name)
    assert refused["code"] == "invalid"
    await client.leave()


async def test_one_bad_channel_leaves_the_others():
    client = await Client(ALICE).opened()
    answers = await client.subscribe("quotes:NOTHING", "quotes:BROKEN", "quotes:EURUSD")
    assert [(a["type"], a.get("code"), a["channel"]) for a in answers] == [
        ("error", "missing", "quotes:NOTHING"),
        ("error", "internal", "quotes:BROKEN"),
        ("snapshot", None, "quotes:EURUSD"),
    ]
    assert "secret" not in json.dumps(answers)
    await client.leave()


async def test_a_message_too_large_or_binary_closes():
    for send in ({"text_data": "x" * 65_537}, {"bytes_data": b"x"}):
        client = await Client(ALICE).opened()
        await client.subscribe("account", "quotes:EURUSD")
        await client.send_to(**send)
        assert await client.closed_with() == 1009
        await client.leave()


async def test_who_asks_too_often_is_told_and_at_last_closed(monkeypatch):
    monkeypatch.setattr(consumers, "OPERATIONS_AT_ONCE", 40.0)
    client = await Client(ALICE).opened()
    await client.subscribe("account", "quotes:EURUSD")
    for _ in range(130):
        await client.say(op="ping")
    codes = []
    while (event := await client.receive_output(3))["type"] != "websocket.close":
        codes.append(json.loads(event["text"]).get("code"))
    assert codes.count(None) in range(38, 45)
    assert set(codes) == {None, "too_many"}
    assert event["code"] == 4429
    await client.leave()


async def test_each_channel_named_is_an_operation():
    client = await Client(ALICE).opened()
    names = [f"quotes:S{n}" for n in range(60)]
    assert {m["type"] for m in await client.subscribe(*names)} == {"snapshot"}
    await client.say(op="subscribe", channels=names)
    refused = await client.hear()
    assert (refused["code"], "channel" in refused) == ("too_many", False)
    assert (await client.subscribe("quotes:S0"))[0]["type"] == "snapshot"
    await client.leave()


async def test_a_channel_named_twice_is_read_once():
    client = await Client(ALICE).opened()
    await client.say(op="subscribe", channels=["account"] * 64)
    assert (await client.hear())["type"] == "snapshot"
    assert await client.receive_nothing(0.3)
    await client.leave()


async def test_after_the_close_nothing_more_is_done_or_said():
    client = await Client(NOBODY).opened()
    await client.subscribe("quotes:EURUSD", "instruments")
    await client.say(op="subscribe", channels=["account", "vault:1", "quotes:OTHER"])
    assert (await client.hear())["channel"] == "account"
    assert await client.closed_with() == 4401
    await client.say(op="ping")
    await publish("instrument:EURUSD", 1)
    assert await client.receive_nothing(0.3)
    await client.leave()


async def test_facts_and_prices_for_a_client_that_is_leaving_are_nobody_s():
    client = await Client(ALICE).opened()
    await client.subscribe("account", "quotes:EURUSD")
    await hub_hears()
    client.is_gone = True
    await publish("customer:1", 1, 2)
    await send_prices({"quotes:EURUSD": {"type": "quote", "seq": 1}})
    assert await client.receive_nothing(0.3)
    await client.leave()


async def test_a_channel_that_could_not_be_joined_is_refused_and_left(monkeypatch):
    client = await Client(NOBODY).opened()
    await client.subscribe("quotes:EURUSD")

    async def fails(_group):
        raise ConnectionError("Redis is away")

    layer = get_channel_layer()._get_layer()
    with monkeypatch.context() as away:
        away.setattr(layer._shards[0], "subscribe", fails)
        (refused,) = await client.subscribe("instruments")
    assert (refused["type"], refused["code"]) == ("error", "internal")
    assert not layer.groups
    assert (await client.subscribe("instruments"))[0]["type"] == "snapshot"
    await client.leave()


async def test_a_consumer_that_breaks_leaves_everything(monkeypatch):
    client = await Client(ALICE).opened()
    await client.subscribe("account", "quotes:EURUSD")
    monkeypatch.setattr(consumers, "_parsed", lambda text: 1 / 0)
    await client.say(op="ping")
    with pytest.raises(ZeroDivisionError):
        await client.receive_output(3)
    with pytest.raises(ZeroDivisionError):
        await client.leave()
    assert not consumers._open
    assert not prices.hub()._everybody
    assert not prices.hub()._listeners
    assert not get_channel_layer()._get_layer().groups


async def test_the_number_of_channels_is_limited():
    client = await Client(ALICE).opened()
    names = [f"quotes:S{n}" for n in range(65)]
    assert {m["type"] for m in await client.subscribe(*names[:64])} == {"snapshot"}
    (refused,) = await client.subscribe(names[64])
    assert (refused["code"], refused["limit"]) == ("too_many", 64)
    await client.leave()


# --- Prices -------------------------------------------------------------------------------------------


async def hub_hears():
    """Wait until the hub's subscription stands."""
    for _ in range(100):
        subscribers = await sync_to_async(lambda: prices.client().pubsub_numsub(prices.key("prices"))[0][1])()
        if subscribers:
            return
        await asyncio.sleep(0.02)


async def test_prices_are_sent_as_the_feed_wrote_them():
    client = await Client(NOBODY).opened()
    await client.subscribe("quotes:EURUSD")
    await hub_hears()
    await send_prices(
        {"quotes:EURUSD": {"type": "quote", "seq": 1, "price": "1.10"}, "quotes:OTHER": {"type": "quote"}}
    )
    message = await client.hear()
    at = message.pop("at")
    assert at.endswith("Z")
    assert message == {"v": 1, "channel": "quotes:EURUSD", "type": "quote", "seq": 1, "price": "1.10"}
    assert await client.receive_nothing(0.2)
    await client.disconnect()


async def test_prices_conflate_to_the_newest_of_each_channel():
    client = await Client(NOBODY).opened()
    await client.subscribe("quotes:A", "quotes:B")
    await hub_hears()

    @sync_to_async
    def burst():
        for seq in range(1, 201):
            prices.publish_latest(
                {"quotes:A": {"type": "quote", "seq": seq}, "quotes:B": {"type": "quote", "seq": seq}}
            )

    await burst()
    heard = []
    while not await client.receive_nothing(0.2):
        heard.append(await client.hear())
    for channel in ("quotes:A", "quotes:B"):
        sequence = [message["seq"] for message in heard if message["channel"] == channel]
        assert sequence == sorted(set(sequence))
        assert sequence[-1] == 200
        assert len(sequence) < 60
    await client.disconnect()


async def test_a_slow_client_gets_the_newest_prices_and_all_facts_or_is_closed(monkeypatch):
    congested = True
    monkeypatch.setattr(PrivateSocket, "_is_congested", lambda self: congested)
    monkeypatch.setattr(consumers, "MOST_FACTS_WAITING", 10)
    client = await Client(ALICE).opened()
    await client.say(op="subscribe", channels=["account", "quotes:A"])
    await asyncio.sleep(0.2)
    await hub_hears()
    for seq in range(5):
        await send_prices({"quotes:A": {"type": "quote", "seq": seq}})
    await publish("customer:1", 1, 2)
    assert await client.receive_nothing(0.3)
    congested = False
    heard = [await client.hear() for _ in range(5)]
    assert [m.get("n", m.get("seq", m["type"])) for m in heard] == ["snapshot", "snapshot", 1, 2, 4]
    congested = True
    await publish("customer:1", *range(11))
    assert await client.closed_with() == 4408


async def test_when_redis_comes_back_every_snapshot_is_sent_again(monkeypatch):
    monkeypatch.setattr(consumers, "RESYNC_SPREAD_SECONDS", 0.1)
    client = await Client(ALICE).opened()
    await client.subscribe("account", "quotes:A")
    await hub_hears()

    @sync_to_async
    def cut():
        for row in prices.client().client_list(_type="pubsub"):
            if row["sub"] == "1":
                prices.client().client_kill_filter(_id=row["id"])

    await cut()
    again = [await client.hear(5), await client.hear(5)]
    assert {(m["type"], m["channel"]) for m in again} == {("snapshot", "account"), ("snapshot", "quotes:A")}
    await send_prices({"quotes:A": {"type": "quote", "seq": 1}})
    assert (await client.hear())["seq"] == 1
    await client.disconnect()


async def test_a_sign_in_that_ended_while_redis_was_away_ends_its_socket():
    lives = True

    async def is_signed_in():
        return lives

    client = await Client(ALICE, sign_in="session:a", is_signed_in=is_signed_in).opened()
    await client.subscribe("account")
    lives = False
    for listener in prices.hub()._everybody:
        listener.echoing = asyncio.create_task(asyncio.sleep(60))
        await get_channel_layer().send(listener.channel_name, {"type": "layer.echo"})
    assert (await client.receive_output(3)) == {"type": "websocket.close", "code": 4401}
    await client.leave()


async def test_a_message_nobody_can_read_does_not_stop_the_prices():
    client = await Client(NOBODY).opened()
    await client.subscribe("quotes:EURUSD")
    await hub_hears()
    for rubbish in (b"{", b"[1]", b"\xff", b'{"quotes:EURUSD": "\xff"}'):
        await sync_to_async(prices.client().publish)(prices.key("prices"), rubbish)
    await send_prices({"quotes:EURUSD": {"type": "quote", "seq": 1}})
    assert (await client.hear())["seq"] == 1
    await client.leave()


async def test_who_comes_while_a_public_snapshot_is_read_shares_the_next_one(monkeypatch):
    reads = []

    def counting(_user):
        reads.append(_user)
        return {"read": len(reads)}

    sockets.register("busy", snapshot=counting, topic="busy:1")
    clients = [await Client(ALICE).opened() for _ in range(12)]
    for client in clients:
        await client.say(op="subscribe", channels=["busy"])
    seen = [(await client.hear())["read"] for client in clients]
    assert sorted(set(seen)) == list(range(1, len(reads) + 1))
    assert len(reads) <= 3
    assert set(reads) == {None}
    await asyncio.sleep(2 * sockets.SHARED_READ_SECONDS)
    assert not prices.hub().reads._next
    for client in clients:
        await client.disconnect()


async def test_snapshots_of_one_do_not_wait_for_those_of_another():
    reading, go_on = threading.Event(), threading.Event()

    def slowly(_user):
        reading.set()
        go_on.wait(5)
        return {}

    sockets.register("slow", snapshot=slowly, topic="slow:1", may=lambda user: True)
    slow, quick = await Client(ALICE).opened(), await Client(MALLORY).opened()
    await slow.say(op="subscribe", channels=["slow"])
    await asyncio.to_thread(reading.wait, 3)
    assert (await quick.subscribe("account"))[0]["owner"] == 2
    go_on.set()
    assert (await slow.hear())["channel"] == "slow"
    for client in (slow, quick):
        await client.disconnect()


async def test_the_pub_sub_layer_publishes_where_the_relay_does():
    layer = get_channel_layer()
    assert layer._get_group_channel_name("x") == f"{layer.prefix}__group__x"
