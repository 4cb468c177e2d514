"""Refusals that a client can understand, and the one error that nobody may catch."""

from typing import Any, ClassVar


class DomainError(Exception):
    """Refuse a command with a stable code, a sentence for people and the numbers involved.

    `details` go into the problem document beside `code`; a subclass sets `code`, `status` and `title`.
    """

    code: ClassVar[str] = "refused"
    status: ClassVar[int] = 422
    title: ClassVar[str] = "The request was refused"

    def __init__(self, detail: str = "", *, retry_after_seconds: int | None = None, **details: Any) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or str(self.title)
        self.details = details
        self.retry_after_seconds = retry_after_seconds

    def as_problem(self) -> dict[str, Any]:
        """Render the RFC 9457 problem document, the same for HTTP and sockets."""
        return {
            "type": f"/problems/{self.code}",
            "title": str(self.title),
            "status": self.status,
            "detail": str(self.detail),
            "code": self.code,
            **self.details,
        }


class Invalid(DomainError):
    code = "invalid"
    status = 400
    title = "The request is not valid"


class Unauthenticated(DomainError):
    code = "unauthenticated"
    status = 401
    title = "Sign in first"


class Forbidden(DomainError):
    code = "forbidden"
    status = 403
    title = "This is not allowed for you"


class Missing(DomainError):
    code = "missing"
    status = 404
    title = "There is nothing here"


class Conflict(DomainError):
    code = "conflict"
    status = 409
    title = "Something else is happening to this right now"


class Refused(DomainError):
    """A rule of the business says no."""


class TooMany(DomainError):
    code = "too_many"
    status = 429
    title = "Too many requests"


class Unavailable(DomainError):
    code = "unavailable"
    status = 503
    title = "This is not available right now"


class MethodNotAllowed(DomainError):
    code = "method_not_allowed"
    status = 405
    title = "This address does not answer that method"


class TooLarge(DomainError):
    code = "too_large"
    status = 413
    title = "The request is too large"


class NotJson(DomainError):
    code = "not_json"
    status = 415
    title = "Send application/json"


class Internal(DomainError):
    """What a client is told when we failed; never raised by services."""

    code = "internal"
    status = 500
    title = "Something went wrong on our side; it has been recorded"


class Broken(Exception):
    """An invariant failed. Never caught: the request ends with 500 and an alarm."""
