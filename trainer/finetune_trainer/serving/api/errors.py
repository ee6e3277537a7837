"""Errors in the form that OpenAI's clients expect."""

from __future__ import annotations

from typing import Any


class ApiError(Exception):
    """An error of one request: status, message, and the field that caused it. `retry_after` is in seconds."""

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.param, self.code, self.retry_after = status, param, code, retry_after

    def body(self) -> dict[str, Any]:
        """The JSON body."""
        kind = {429: "rate_limit_error"}.get(
            self.status, "invalid_request_error" if self.status < 500 else "server_error"
        )
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}


def invalid(param: str, message: str, code: str | None = "invalid_value") -> ApiError:
    """A 400 about one field. The message says what is expected; it never repeats what the client sent at length."""
    return ApiError(400, message, param, code)
