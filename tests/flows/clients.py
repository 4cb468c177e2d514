"""What a customer's program is made of: JSON over HTTP, and an ear on the private socket."""

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

Message = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """A status, headers by lower-case name, and the JSON body."""

    status: int
    headers: dict[str, str]
    body: Any


class Api:
    """One customer's HTTP client. Raises OSError or HTTPException when no answer comes."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self.address = urlsplit(url).netloc
        self.token = token

    def get(self, path: str, **query: Any) -> Answer:
        return self._call("GET", f"{path}?{urlencode(query)}" if query else path)

    def post(self, path: str, body: Any, **headers: str) -> Answer:
        return self._call("POST", path, json.dumps(body), headers)

    def _call(self, method: str, path: str, body: str | None = None, headers: Any = None) -> Answer:
        headers = {name.replace("_", "-"): value for name, value in (headers or {}).items()}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        connection = http.client.HTTPConnection(self.address, timeout=20)
        try:
            connection.request(method, f"/api/v1{path}", body, headers)
            answer = connection.getresponse()
            text = answer.read()
            known = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, known, json.loads(text) if text else None)
        finally:
            connection.close()


class Ear:
    """Keeps every message of a socket, in order."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._heard: list[Message] = []
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        try:
            for text in self._socket:
                with self._changed:
                    self._heard.append(json.loads(text))
                    self._changed.notify_all()
        except ConnectionClosed:
            return

    def say(self, op: str, *channels: str) -> None:
        self._socket.send(json.dumps({"op": op, "channels": channels}))

    def heard(self, wanted: Callable[[Message], bool] = lambda _: True) -> list[Message]:
        with self._changed:
            return [message for message in self._heard if wanted(message)]

    def wait(self, wanted: Callable[[Message], bool], *, seconds: float = 60) -> Message:
        """Return the first message that is wanted, also an earlier one; fail when none comes in time."""
        until, seen = time.monotonic() + seconds, 0
        with self._changed:
            while True:
                for message in self._heard[seen:]:
                    if wanted(message):
                        return message
                seen = len(self._heard)
                if not self._changed.wait(until - time.monotonic()):
                    raise AssertionError(f"not heard in {seconds} s, but: {self._heard[-20:]}")


@contextmanager
def listening(url: str, token: str, *channels: str) -> Iterator[Ear]:
    """Open the socket, subscribe, and return once every channel's snapshot is here."""
    headers = {"Authorization": f"Bearer {token}"}
    with connect(url, additional_headers=headers, proxy=None, open_timeout=20) as socket:
        ear = Ear(socket)
        ear.say("subscribe", *channels)
        for name in channels:
            answer = ear.wait(lambda message, name=name: message.get("channel") == name)
            assert answer["type"] == "snapshot", answer
        yield ear


def wait_until(condition: Callable[[], Any], what: str, *, seconds: float = 60) -> None:
    """Ask again and again until the condition holds; fail when it does not in time."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"{what}: not within {seconds} s"
        time.sleep(0.05)
