"""What the drills that kill stand on: roles as processes, work in threads, customers, and one who looks."""

import http.client
import itertools
import json
import signal
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import Any

from config.bench.stage import Market, funded_accounts
from config.core.models import Fact
from config.core.workers import TRANSIENT, close_connections
from config.drills.books import ledger_amiss
from config.drills.feed_faults import Record, told
from config.embedded import environment as env
from config.embedded.machine import free_port
from config.embedded.processes import Identity, Program, send
from config.embedded.run import read_procfile, role_program
from kyc.models import User
from kyc.services import issue_tokens
from payments.ledger.models import Account, Transfer
from quotes.models import Instrument
from trading.models import Order

ENDED_BY_ITSELF = 137
# What a client is told to try again: too many, busy, unavailable.
AGAIN = {409, 429, 503}
_taken: set[int] = set()


def chance(*parts: Any) -> Random:
    """Return the same chance for the same parts, each work's own: threads take turns as they please."""
    return Random(" ".join(map(str, parts)))  # noqa: S311 - it must be repeatable


# --- threads ------------------------------------------------------------------------------------------

# Works until the event is set.
Work = Callable[[threading.Event], None]


@contextmanager
def working(*works: Work) -> Iterator[None]:
    """Run each work in a thread of its own until the block ends; raise what one of them raised."""
    stop = threading.Event()
    with ThreadPoolExecutor(len(works)) as pool:
        running = [pool.submit(_work, work, stop) for work in works]
        try:
            yield
        finally:
            stop.set()
            for work in running:
                work.result()


def _work(work: Work, stop: threading.Event) -> None:
    try:
        work(stop)
    finally:
        close_connections()


def wait_until(condition: Callable[[], Any], what: str, *, seconds: float = 60) -> None:
    """Ask again and again until the condition holds; raise RuntimeError when it does not in time."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise RuntimeError(f"{what}: not within {seconds} s")
        time.sleep(0.02)


def moving(market: Market, chance: Random) -> Work:
    """Return the work of ticking a market ten times a second, whatever becomes of its connection."""

    def move(stop: threading.Event) -> None:
        cents = 10_000
        while not stop.wait(0.1):
            cents += chance.randint(-50, 50)
            try:
                market.tick(f"{Decimal(cents) / 100:.2f}")
            except TRANSIENT:
                close_connections()

    return move


# --- roles --------------------------------------------------------------------------------------------


class Role:
    """A role of the Procfile as a process, or another command in its place; started and killed at will."""

    def __init__(self, name: str, command: str = "") -> None:
        self.name, self.port = name, free_port(_taken)
        _taken.add(self.port)
        self.command = command or read_procfile(env.ROOT / "Procfile")[name]
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the role is

    def start(self, **variables: str) -> None:
        """Start it against this process's servers; `variables` may arm a fault point."""
        own = {
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "ROLE": self.name,
            "WEB_PORT" if self.name == "web" else "METRICS_PORT": str(self.port),
        }
        program: Program = role_program(self.name, self.command, env.load() | own | variables)
        self.process = subprocess.Popen(
            program.argv, stdout=self.log, stderr=self.log, **program.popen_options()
        )
        self.identity = Identity.of(self.name, self.process.pid)

    def is_ready(self) -> bool:
        """Whether it says that it can work now; raise RuntimeError when it has ended."""
        self.require_running()
        with suppress(OSError), urllib.request.urlopen(f"{self.url}/readyz", timeout=3) as answer:  # noqa: S310
            return bool(answer.status == 200)
        return False

    def require_running(self) -> None:
        """Raise RuntimeError with its last words when it has ended by itself."""
        if self.ended() is not None:
            self.log.seek(0)
            words = self.log.read().decode(errors="replace")
            raise RuntimeError(f"{self.name} has ended ({self.ended()}): {words[-2000:]}")

    def ended(self) -> int | None:
        """Return the exit code of a process that has ended by itself, None while it runs."""
        return None if self.process is None else self.process.poll()

    def kill(self) -> None:
        """Kill -9 the process and all of its session."""
        if self.process is not None:
            send(self.identity.survivors(), signal.SIGKILL)
            self.process.wait()
            self.process = None


@contextmanager
def killed_at_the_end(*roles: Role) -> Iterator[None]:
    """Leave no process of these roles behind."""
    try:
        yield
    finally:
        for role in roles:
            role.kill()


# --- customers ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, headers by lower-case name, and the body as it came."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def is_replayed(self) -> bool:
        """Whether it is the answer of an earlier attempt."""
        return self.headers.get("idempotency-replayed") == "true"


@dataclass(slots=True)
class Customer:
    """Somebody whose program places orders over HTTP and sends each command up to `tries` times.

    Its stake tells a command from all others of the customer, whatever becomes of its key.
    """

    url: str
    user: User
    account: Account
    symbols: Sequence[str]
    duration_seconds: int
    pause_seconds: float
    tries: int
    token: str = ""
    answers: dict[int, Answer] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    retries: int = 0

    def sign_in(self) -> None:
        """Get a new access token."""
        self.token = issue_tokens(user=self.user).access

    def trade(self, stop: threading.Event) -> None:
        """Place one order after the other."""
        for number in itertools.count():
            if stop.wait(self.pause_seconds):
                return
            answer = self.place(number)
            if answer is not None and answer.status in {200, 201}:
                self.answers[number] = answer
            else:
                self.errors.append(f"{answer.status} {answer.body!r}" if answer else "no answer")

    def place(self, number: int) -> Answer | None:
        """Send a command until it is answered for good, or the tries are used up."""
        answer = None
        for attempt in range(self.tries):
            if attempt:
                self.retries += 1
                time.sleep(float(answer.headers.get("retry-after", 0.1)) if answer else 0.1)
            answer = self.send(number)
            if answer is not None and answer.status == 401:
                self.sign_in()
            elif answer is not None and answer.status not in AGAIN:
                break
        return answer

    def send(self, number: int) -> Answer | None:
        """Send a command once; None when no answer comes. Its key goes in the body or in the header."""
        body = {
            "account": self.account.pk,
            "symbol": self.symbols[number % len(self.symbols)],
            "contract": "rise_fall",
            "side": "up" if number % 3 else "down",
            "stake": f"{self.stake(number):.2f}",
            "duration_seconds": self.duration_seconds,
        }
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        (headers if number % 2 else body)["Idempotency-Key" if number % 2 else "client_id"] = (
            f"order-{number}"
        )
        connection = http.client.HTTPConnection(self.url.partition("//")[2], timeout=20)
        try:
            connection.request("POST", "/api/v1/orders", json.dumps(body), headers)
            got = connection.getresponse()
            return Answer(got.status, {name.lower(): value for name, value in got.getheaders()}, got.read())
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    @staticmethod
    def stake(number: int) -> Decimal:
        """Return the stake of a command, which no other command of this customer has."""
        return Decimal(100 + number) / 100


def customers(
    count: int, market: Market, url: str, *, duration_seconds: int, pause_seconds: float, tries: int
) -> list[Customer]:
    """Make customers with money, signed in."""
    accounts = funded_accounts(count)
    users = User.objects.in_bulk([account.owner_id for account in accounts])
    symbols = [instrument.symbol for instrument in market.instruments]
    made = [
        Customer(url, users[account.owner_id or 0], account, symbols, duration_seconds, pause_seconds, tries)
        for account in accounts
    ]
    for customer in made:
        customer.sign_in()
    return made


# --- what must hold -----------------------------------------------------------------------------------


def settled_after(most_seconds: float) -> float:
    """Wait until no order is open, or only parked ones; return how many seconds it took, at most these."""
    began, waited_for = time.monotonic(), Order.objects.filter(status=Order.Status.OPEN, parked_at=None)
    while waited_for.exists() and time.monotonic() < began + most_seconds:
        time.sleep(0.05)
    return round(time.monotonic() - began, 1)


def money_amiss() -> list[str]:
    """Name what the ledger's whole check finds, and every order that did not move exactly what it must."""
    found = ledger_amiss()
    owed: Counter[tuple[str, int, int, Decimal]] = Counter()
    said: Counter[tuple[str, str]] = Counter()
    escrow = Account.objects.get(code=Account.Code.ESCROW, owner=None, book__code="bench").pk
    for order in Order.objects.select_related("account"):
        one, account, counter = str(order.pk), order.account_id, order.account.counter_id or 0
        owed[one, account, escrow, order.stake] += 1
        if order.status == Order.Status.OPEN:
            continue
        said[one, f"order.{order.status}"] += 1
        owed[one, escrow, counter if order.status == Order.Status.LOST else account, order.stake] += 1
        if order.status == Order.Status.WON:
            owed[one, counter, account, (order.payout or 0) - order.stake] += 1
    legs = Transfer.objects.exclude(code="deposit")
    posted = Counter(legs.values_list("reference", "source_id", "destination_id", "amount"))
    facts = Fact.objects.filter(name__startswith="order.").exclude(name="order.opened")
    heard = Counter(facts.values_list("payload__order__id", "name"))
    return found + _differences("transfer", owed, posted) + _differences("fact", said, heard)


def _differences(what: str, wanted: Counter[Any], there: Counter[Any]) -> list[str]:
    return [
        f"{what} {one} is there {there[one]} times, not {wanted[one]}"
        for one in wanted | there
        if wanted[one] != there[one]
    ]


def outcomes_amiss() -> list[str]:
    """Name every order that is still open, or that the stored ticks, computed anew, end in another way."""
    records = {each: Record(each) for each in Instrument.objects.values_list("pk", flat=True)}
    found = []
    for order in Order.objects.order_by("id"):
        record = records[order.instrument_id]
        objection = record.objection(order)
        if not objection and told(order) != record.decided(order):
            objection = f"{told(order)!r} was to be {record.decided(order)!r}"
        found += [objection] if objection else []
    return found


def outcomes() -> dict[str, int]:
    """Return how many orders ended in which way."""
    ends = Order.objects.values_list("refund_reason", "status")
    return dict(sorted(Counter(reason or status for reason, status in ends).items()))


def report(drill: str, seed: int, sabotage: bool, broken: list[str], **seen: Any) -> dict[str, Any]:
    """Return what a drill prints."""
    head = {"drill": drill, "seed": seed, "sabotage": sabotage}
    return head | seen | {"broken": broken[:20], "broken_count": len(broken)}
