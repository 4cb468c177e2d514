"""Leaders: whoever holds the session-level advisory lock of a name, on a direct connection of its own."""

import hashlib
import select
import time
from types import TracebackType

import psycopg
from django.conf import settings


class Leadership:
    """The exclusive right to act under a name, in one database; it ends with the connection that holds it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._key = int.from_bytes(hashlib.sha256(f"leader:{name}".encode()).digest()[:8], signed=True)
        self._connection: psycopg.Connection | None = None
        self._asked = 0.0

    def acquire(self, wait_seconds: float = 0) -> bool:
        """Try for that long to become the leader; raise psycopg.OperationalError without a database."""
        deadline = time.monotonic() + wait_seconds
        if self.holds():
            return True
        connection = psycopg.connect(
            settings.DATABASE_DIRECT_URL,
            autocommit=True,
            connect_timeout=5,
            application_name=f"leader-{self.name}",
            keepalives_idle=5,
            keepalives_interval=2,
            keepalives_count=3,
        )
        try:
            while not connection.execute("SELECT pg_try_advisory_lock(%s)", [self._key]).fetchone()[0]:  # type: ignore[index]
                if time.monotonic() >= deadline:
                    connection.close()
                    return False
                time.sleep(min(0.25, max(deadline - time.monotonic(), 0)))
        except BaseException:
            connection.close()
            raise
        self._connection, self._asked = connection, time.monotonic()
        return True

    def holds(self) -> bool:
        """Whether we still lead. Costs microseconds; asks the server once a second or when it spoke up."""
        if self._connection is None:
            return False
        spoke, _, _ = select.select([self._connection.fileno()], [], [], 0)
        if spoke or time.monotonic() - self._asked > 1:
            try:
                self._connection.execute("SELECT 1")
                self._asked = time.monotonic()
            except psycopg.Error:
                self.release()
        return self._connection is not None

    def release(self) -> None:
        """Stop leading, whether or not we did."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self) -> "Leadership":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
