"""What a process says of itself: alive (/healthz), able to work (/readyz), in numbers (/metrics)."""

import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import orjson
import prometheus_client
import psycopg
from django.conf import settings
from django.db import connections
from django.http import Http404, HttpRequest, HttpResponse
from prometheus_client import multiprocess

from config.core import clock, redis

logger = logging.getLogger(__name__)
ANSWER_SECONDS = 2.0
LARGEST_CLOCK_OFFSET_SECONDS = 0.05
STALLED_SECONDS = 60.0
CLOCK_OFFSET = prometheus_client.Gauge(
    "clock_offset_seconds", "How far this machine's clock certainly is from the database's"
)
_ADDRESS = ("dbname", "user", "password", "host", "port", "sslmode")
Check = Callable[[], str]
Answer = tuple[int, str, bytes]

_checks: dict[str, Check] = {}
_running: dict[str, "Future[str]"] = {}
_lock = threading.Lock()
_known: tuple[float, dict[str, str]] = (-60.0, {})
_last_beat: float | None = None


def ready_when(name: str, check: Check) -> None:
    """Register what must hold for this process to be ready: the check returns "", or what is wrong."""
    _checks[name] = check


def alive() -> None:
    """Say that the main loop goes round; a loop that has once said so and stops saying is not healthy."""
    global _last_beat
    _last_beat = time.monotonic()


def readiness() -> dict[str, str]:
    """Return every check's complaint, "" for none, within two seconds; asked at most once a second."""
    global _known
    with _lock:
        if time.monotonic() - _known[0] < 1:
            return _known[1]
        for name, check in _checks.items():
            # One that hangs is not asked again until it has answered.
            if name not in _running or _running[name].done():
                _running[name] = _submit(check)
        wait(_running.values(), timeout=ANSWER_SECONDS)
        complaints = {name: _complaint(future) for name, future in _running.items()}
        _known = time.monotonic(), complaints
        return complaints


def _submit(check: Check) -> "Future[str]":
    pool = ThreadPoolExecutor(1, thread_name_prefix="readiness")
    try:
        return pool.submit(check)
    finally:
        pool.shutdown(wait=False)


def _complaint(future: "Future[str]") -> str:
    if not future.done():
        return "no answer in time"
    error = future.exception()
    if error is not None:
        logger.warning("a readiness check failed", exc_info=error)
        return type(error).__name__
    return future.result()


def clock_offset() -> float:
    """Return the seconds by which our clock is certainly off the database's, where alone it is compared."""
    parameters = connections["default"].get_connection_params()
    parameters = {key: parameters[key] for key in _ADDRESS if key in parameters}
    with psycopg.connect(**parameters, connect_timeout=2, autocommit=True) as connection:
        before = clock.now()
        (there,) = connection.execute("SELECT clock_timestamp()").fetchone()  # type: ignore[misc]
        after = clock.now()
    # Its reading lies between ours; only what sticks out is certainly an offset.
    offset = max((before - there).total_seconds(), (there - after).total_seconds(), 0.0)
    CLOCK_OFFSET.set(offset)
    return offset


def _database() -> str:
    offset = clock_offset()
    return "" if offset <= LARGEST_CLOCK_OFFSET_SECONDS else f"clock is {offset:.3f} s off the database's"


def _redis() -> str:
    redis.client().ping()
    return ""


ready_when("database", _database)
ready_when("redis", _redis)


def answer(path: str) -> Answer | None:
    """Return status, content type and body for the three paths, None for any other."""
    if path == "/healthz":
        stalled = _last_beat is not None and time.monotonic() - _last_beat > STALLED_SECONDS
        return (503 if stalled else 200), "application/json", orjson.dumps({"healthy": not stalled})
    if path == "/readyz":
        complaints = readiness()
        ready = not any(complaints.values())
        body = {"ready": ready, "checks": {name: text or "ok" for name, text in complaints.items()}}
        return (200 if ready else 503), "application/json", orjson.dumps(body)
    if path == "/metrics":
        registry = prometheus_client.REGISTRY
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            registry = prometheus_client.CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)
        return 200, prometheus_client.CONTENT_TYPE_LATEST, prometheus_client.generate_latest(registry)
    return None


def view(request: HttpRequest) -> HttpResponse:
    """Answer for the web role."""
    found = answer(request.path)
    if found is None:
        raise Http404
    status, kind, body = found
    return HttpResponse(body, status=status, content_type=kind, headers={"Cache-Control": "no-store"})


class _Handler(BaseHTTPRequestHandler):
    timeout = 5

    def do_GET(self) -> None:
        status, kind, body = answer(self.path.partition("?")[0]) or (404, "text/plain", b"")
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: probes come every few seconds."""


def serve(port: int) -> ThreadingHTTPServer | None:
    """Answer on that port from a thread, as roles without HTTP of their own do; 0 means not at all."""
    if not port:
        return None
    server = ThreadingHTTPServer((settings.METRICS_HOST, port), _Handler)
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server
