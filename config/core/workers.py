"""The loop of long-running commands: stops at a batch's end, reconnects with backoff, tells its health."""

import logging
import random
import signal
import time
from collections.abc import Callable
from typing import Any

import psycopg
import redis
from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import DatabaseError, InterfaceError, OperationalError, connections

from config.core import clock, health
from config.core.leader import Leadership

logger = logging.getLogger(__name__)
# What passes by itself: the database or Redis is away, or an answer took too long.
TRANSIENT = (OperationalError, InterfaceError, psycopg.OperationalError, redis.RedisError, ConnectionError)
CLOCK_SECONDS = 2.0


class Stop:
    """Becomes true at SIGTERM or SIGINT. A flag, for an Event could deadlock with its own signal handler."""

    def __init__(self) -> None:
        self.requested = False

    def __bool__(self) -> bool:
        return self.requested

    def on_signals(self) -> "Stop":
        """Listen to the signals; from the main thread only."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.request)
        return self

    def request(self, *_: Any) -> None:
        """Ask for the end."""
        self.requested = True

    def wait(self, seconds: float) -> None:
        """Sleep that long, or a tenth of a second past the request."""
        until = time.monotonic() + seconds
        while not self.requested and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))


class Backoff:
    """Waits that double from `first` to `longest` seconds, with full jitter above half.

    Who loses one connection after the other must still be back within 5 s of each.
    """

    def __init__(self, first: float = 0.2, longest: float = 2.0) -> None:
        self.first, self.longest = first, longest
        self.reset()

    def reset(self) -> None:
        """Begin again from the shortest."""
        self._next = self.first

    def seconds(self) -> float:
        """Return how long to wait now."""
        wait, self._next = self._next, min(self._next * 2, self.longest)
        return wait * random.uniform(0.5, 1)  # noqa: S311


def close_connections() -> None:
    """Drop this thread's database connections; the next query opens new ones."""
    for connection in connections.all(initialized_only=True):
        try:
            connection.close()
        except DatabaseError:
            connection.connection = None


class ClockWatch:
    """Compares this process's clock with the database's every few seconds; a replaced one is never wrong."""

    def __init__(self) -> None:
        self._due, self._is_wrong = 0.0, False

    def is_wrong(self) -> bool:
        """Tell whether nothing may be written by this clock; raise psycopg.OperationalError."""
        if not clock.is_replaced() and time.monotonic() >= self._due:
            offset = health.clock_offset()
            self._is_wrong = offset > health.LARGEST_CLOCK_OFFSET_SECONDS
            self._due = time.monotonic() + CLOCK_SECONDS
            if self._is_wrong:
                logger.critical("clock is %.3f s off the database's: standing still", offset)
        return self._is_wrong


def run(
    step: Callable[[], bool],
    *,
    idle_seconds: float,
    stop: Stop,
    leadership: Leadership | None = None,
    elected: Callable[[], None] | None = None,
) -> None:
    """Call `step` until asked to stop: again at once while it returns True, else after `idle_seconds`.

    With `leadership` it is called only while leading, and `elected` once at the start of each reign. With a
    wrong clock it is not called, and nobody led. What passes by itself (TRANSIENT) is logged and waited out;
    every other exception ends the process.
    """
    backoff, leads, watch = Backoff(), leadership is None, ClockWatch()
    while not stop:
        try:
            health.alive()
            if watch.is_wrong():
                if leadership is not None:
                    leadership.release()
                stop.wait(CLOCK_SECONDS)
                continue
            if leadership is not None and not leadership.holds():
                leads = False
                if not leadership.acquire(wait_seconds=1):
                    continue
            if not leads and elected is not None:
                elected()
            leads = True
            busy = step()
            backoff.reset()
        except TRANSIENT as error:
            wait = backoff.seconds()
            logger.warning("waiting %.1f s for the database or Redis: %s", wait, error)
            close_connections()
            stop.wait(wait)
        else:
            if not busy:
                stop.wait(idle_seconds)
    if leadership is not None:
        leadership.release()


class WorkerCommand(BaseCommand):
    """The base of the roles that are commands: health server, signals, the loop."""

    idle_seconds = 0.025
    leader_name = ""

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until SIGTERM."""
        stop = Stop().on_signals()
        health.serve(settings.METRICS_PORT)
        leadership = Leadership(self.leader_name) if self.leader_name else None
        logger.info("started")
        run(
            self.step,
            idle_seconds=self.idle_seconds,
            stop=stop,
            leadership=leadership,
            elected=self.elected,
        )
        logger.info("stopped")

    def step(self) -> bool:
        """Do one batch; return whether there is more to do at once."""
        raise NotImplementedError

    def elected(self) -> None:
        """Prepare for leading; called before the first step of each reign."""
