"""The gateway as it runs: daphne, real sockets, a client that does not read, a Redis that dies."""

import json
import socket
import subprocess
import time
from contextlib import suppress

import pytest
import redis as redis_client
from django.db import transaction
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from config.core import outbox
from config.core.facts import FactData, fact
from config.core.relay import Relay
from config.embedded.machine import free_port, valkey_binary

pytestmark = pytest.mark.django_db(transaction=True)


@fact("test.wide")
class Wide(FactData):
    """A fact that takes room."""

    n: int
    text: str


def publish(*numbers, size=1, topic="instrument:EURUSD"):
    with transaction.atomic():
        outbox.publish_many([(topic, Wide(n=n, text="x" * size)) for n in numbers])
    relay = Relay()
    while relay.step():
        pass


@pytest.fixture
def gateway(roles):
    roles.start("gateway")
    return roles


def opened(roles, origin=None):
    return connect(roles.socket_url, origin=origin or roles.url, open_timeout=20)


def hear(client, seconds=10):
    return json.loads(client.recv(timeout=seconds))


def subscribe(client, channel="instruments"):
    client.send(json.dumps({"op": "subscribe", "channels": [channel]}))
    return hear(client)


def test_our_page_is_let_in_and_others_are_not(gateway):
    with opened(gateway) as client:
        assert subscribe(client)["type"] == "snapshot"
        publish(7)
        message = hear(client)
        assert (message["channel"], message["type"], message["n"]) == ("instruments", "test.wide", 7)
        client.send("x" * 70_000)
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(timeout=5)
        assert closed.value.rcvd is None or closed.value.rcvd.code == 1009
    with pytest.raises(InvalidStatus) as refused:
        opened(gateway, origin="https://evil.example")
    assert refused.value.response.status_code == 403
    with pytest.raises(InvalidStatus):
        connect(gateway.socket_url.replace("/ws/v1/", "/ws/other/"), origin=gateway.url)


def test_bad_words_cost_a_client_nothing_but_an_answer(gateway):
    with opened(gateway) as client:
        subscribe(client)
        for channels in ([[]], [{}], [None]):
            client.send(json.dumps({"op": "unsubscribe", "channels": channels}))
            assert hear(client)["code"] == "invalid"
        publish(7)
        assert hear(client)["n"] == 7
        client.send(json.dumps({"op": "subscribe", "channels": ["account", "account"]}))
        assert hear(client)["code"] == "unauthenticated"
        publish(8)
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(timeout=5)
        assert closed.value.rcvd.code == 4401


def test_a_client_that_does_not_read_is_closed_and_others_do_not_wait(gateway):
    stuck = socket.socket()
    stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stuck.connect(("127.0.0.1", gateway.ports["gateway"]))
    stuck.sendall(
        f"GET /ws/v1/ HTTP/1.1\r\nHost: x\r\nOrigin: {gateway.url}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    assert stuck.recv(12) == b"HTTP/1.1 101"
    text = json.dumps({"op": "subscribe", "channels": ["instruments"]}).encode()
    stuck.sendall(bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text)
    with opened(gateway) as reader:
        subscribe(reader)
        expected = []
        for start in range(0, 3000, 500):
            publish(*range(start, start + 500), size=4000)
            expected += range(start, start + 500)
            got = [hear(reader)["n"] for _ in range(500)]
            assert got == expected[-500:]
    # What was waiting for it is thrown away with its socket: the server has let go of it.
    stuck.settimeout(10)
    received, chunk = 0, b"x"
    with suppress(ConnectionResetError):
        while chunk:
            chunk = stuck.recv(1 << 20)
            received += len(chunk)
    assert received < 3000 * 4000


@pytest.fixture
def own_redis(tmp_path):
    """A Redis of this test's own, to be killed."""
    port = free_port(set())
    running = []

    def start():
        argv = [valkey_binary(), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", tmp_path]
        running.append(subprocess.Popen([str(part) for part in argv], stdout=subprocess.DEVNULL))
        with redis_client.Redis(port=port) as client:
            for _ in range(200):
                try:
                    client.ping()
                except redis_client.ConnectionError:
                    time.sleep(0.05)

    def kill():
        running[-1].kill()
        running[-1].wait()

    start.url = f"redis://127.0.0.1:{port}/0"
    start.kill = kill
    start()
    yield start
    kill()


def test_when_redis_dies_the_sockets_live_and_are_made_whole(roles, own_redis, settings):
    settings.REDIS_URL = own_redis.url
    roles.start("gateway", REDIS_URL=own_redis.url)
    with opened(roles) as client:
        subscribe(client)
        publish(1)
        assert hear(client)["n"] == 1
        own_redis.kill()
        with pytest.raises(redis_client.RedisError):
            publish(2)
        own_redis()
        back_at = time.monotonic()
        publish()  # the one that could not leave
        heard = []
        while not any(message["type"] == "snapshot" for message in heard):
            heard.append(hear(client, 20))
        assert time.monotonic() - back_at < 10
        publish(3)
        while heard[-1].get("n") != 3:
            heard.append(hear(client))
