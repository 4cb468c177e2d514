"""A FIX session with a provider: sends the orders that are intended, records what comes of them."""

import asyncio
from collections.abc import Sequence
from functools import partial
from uuid import UUID

import structlog
from django.db import DataError

from config.core import clock
from quotes.errors import InvalidSource
from quotes.lanes import Connection
from quotes.services import fix
from quotes.sources.connection import CONNECTS, ERRORS, Backoff, SourceError, Timing
from quotes.sources.fix.messages import Message, Unreadable, read
from quotes.sources.fix.opening import (
    FAILURES,
    FixOptions,
    check,
    connected,
    hidden,
    parties_of,
    read_address,
    secrets_of,
)
from quotes.sources.fix.sender import stored
from quotes.sources.fix.session import Session
from trading import services
from trading.hedging.messages import (
    CL_ORD_ID,
    EXECUTION,
    NEW_ORDER,
    STATUS_REQUEST,
    new_order,
    read_report,
    status_request,
)
from trading.models import HedgeOrder
from trading.rules.hedging import Report

log = structlog.get_logger(__name__)
LOOK_SECONDS = 0.05
# How long after it was sent, or after the last question, an order without an end is asked about.
ASK_SECONDS = 10.0


class Provider:
    """Keeps one session with a provider, and opens another with growing patience when it ends.

    `orders` are those that are not over, as they were last read.
    """

    def __init__(self, connection: Connection, timing: Timing | None = None) -> None:
        self.name, self.timing = connection.code, timing or Timing()
        self.orders: Sequence[HedgeOrder] = ()
        self.complaint = "not connected yet"
        self._connection = connection
        self._secrets: set[str] = set()
        self._session: Session | None = None

    @property
    def is_up(self) -> bool:
        """Whether orders can be sent now."""
        return self._session is not None and self._session.is_complete

    async def run(self) -> None:
        """Trade until cancelled, reconnecting with growing patience."""
        backoff, loop = Backoff(self.timing), asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                await self._trade()
            except (*FAILURES, InvalidSource) as error:
                wait = backoff.seconds(loop.time() - began)
                ERRORS.labels(self.name).inc()
                self.complaint = hidden(str(error), self._secrets) or type(error).__name__
                log.warning("provider session ended", provider=self.name, error=self.complaint, wait=wait)
                await asyncio.sleep(wait)

    async def _trade(self) -> None:
        options = await stored(self._options)
        parties = await asyncio.to_thread(parties_of, self._connection, options)
        self._secrets |= secrets_of(parties)
        address = read_address(self._connection.url)
        async with connected(address, options.ca_file, self.timing) as streams:
            CONNECTS.labels(self.name).inc()
            numbers = await stored(partial(fix.open_fix_session, source=self.name, reset=False))
            heard = _Heard(self)
            self._session = Session(parties, heard, numbers, streams, self.timing, _Kept(self.name))
            heard.session = self._session
            try:
                await self._speak(self._session)
            finally:
                self._session = None

    def _options(self) -> FixOptions:
        """Return the options as they are; raise SourceError while no order can go there."""
        if why := services.provider_fault_of(self.name):
            raise SourceError(why)
        return check(self._connection)

    async def _speak(self, session: Session) -> None:
        tasks = [asyncio.ensure_future(each) for each in (session.run(), self._send(session))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _send(self, session: Session) -> None:
        """Send each order once, and ask what became of those that nothing is heard of."""
        loop = asyncio.get_running_loop()
        told, asked = set[UUID](), dict[UUID, float]()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if not session.is_complete:
                continue
            for order in self.orders:
                if order.state == HedgeOrder.State.INTENDED:
                    if order.pk not in told:
                        told.add(order.pk)
                        claim = partial(services.claim_hedge_order, order.pk)
                        session.tell(NEW_ORDER, new_order(order, clock.now()), claim=claim)
                elif loop.time() - asked.setdefault(order.pk, loop.time()) >= ASK_SECONDS:
                    asked[order.pk] = loop.time()
                    session.tell(STATUS_REQUEST, status_request(order))


class _Kept:
    """The orders a session has sent, as they are stored."""

    def __init__(self, provider: str) -> None:
        self._provider = provider

    def may_resend(self, message: Message) -> bool:
        """Tell whether an order that never arrived is still fresh; one that is not lapses."""
        order_id = _order_id(message)
        return order_id is not None and services.resend_hedge_order(order_id=order_id)

    def refused(self, seq: int, text: str) -> None:
        """Note that the order sent under this number was not taken at all, if one was."""
        for sent in fix.sent_fix_messages(source=self._provider, first=seq, last=seq):
            if (order_id := _order_id(read(sent.raw))) is not None:
                services.refuse_hedge_order(order_id=order_id, text=text)


class _Heard:
    """Hears what a session receives."""

    session: Session

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    def deliver(self, message: Message, is_current: bool) -> None:
        """Record what is reported of an order, however late."""
        if message.type != EXECUTION:
            self.complained(f"message of type {message.type} is not for orders")
            return
        seq = message.number(34) or 0
        try:
            report = read_report(message)
        except Unreadable as error:
            self.session.sender.record(seq, partial(self._refuse, seq, message, str(error)))
            return
        self.session.sender.record(seq, partial(self._record, seq, message, report))

    def _record(self, seq: int, message: Message, report: Report) -> None:
        try:
            services.record_execution(provider=self._provider.name, report=report)
        except DataError as error:
            # Asked for again it would come as it is, and nothing after it would ever be heard.
            self._refuse(seq, message, str(error))

    def _refuse(self, seq: int, message: Message, why: str) -> None:
        said = f"message {seq} cannot be read: {why}"
        log.error("a report of a hedge cannot be read", provider=self._provider.name, said=message.fields)
        fix.record_fix_reject(source=self._provider.name, kind="unreadable", ref_seq=seq, text=said)

    def logged_on(self, ask_seconds: float) -> None:
        """Be ready."""
        self._provider.complaint = ""
        log.info("provider session opened", provider=self._provider.name)

    def complained(self, text: str) -> None:
        """Show the operator what is wrong."""
        log.warning("FIX peer complained", provider=self._provider.name, said=text)

    def alive(self, message: Message) -> None:
        """Only prices need to know."""

    def lost(self) -> None:
        """Nothing is sent until it is made up for."""

    def skipped(self) -> None:
        """What came of an order may be among it: it is asked about."""

    def caught_up(self) -> None:
        """Go on."""

    def stalled(self) -> None:
        """Only prices need to know."""

    def asked(self) -> None:
        """Only prices need to know."""

    def answered(self) -> None:
        """Only prices need to know."""

    def refused(self, request_id: str) -> None:
        """No prices are asked for."""


def _order_id(message: Message) -> UUID | None:
    try:
        return UUID(message.get(CL_ORD_ID) or "") if message.type == NEW_ORDER else None
    except ValueError:
        return None
