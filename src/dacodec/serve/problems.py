"""Errors as problem details (RFC 9457): a status, a code for programs, what is wrong and how to fix it."""

from __future__ import annotations

from typing import Any

from dacodec import errors

PROBLEM_JSON = "application/problem+json"


class Problem(Exception):
    """Ends a request with an error response.

    Args:
        status: HTTP status of the response.
        code: a stable name that programs can rely on.
        detail: what is wrong.
        remedy: how to fix it.
        retry_after: seconds to wait, if trying again helps.
    """

    def __init__(
        self, status: int, code: str, detail: str, remedy: str, retry_after: int | None = None
    ) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail, self.remedy = status, code, detail, remedy
        self.retry_after = retry_after

    def to_json(self) -> dict[str, Any]:
        return {
            "type": "about:blank",
            "title": self.code.replace("_", " "),
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            "remedy": self.remedy,
        }

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}


# The first match counts.
_KINDS: list[tuple[type[errors.DacodecError], int, str, str]] = [
    (errors.RowError, 422, "bad_rows", "send rows in the layout's order; see docs/live.md"),
    (
        errors.CodesError,
        422,
        "bad_codes",
        "send integers [channels, codebooks, frames] within the model's range; see GET /v1/models",
    ),
    (errors.AudioError, 422, "bad_audio", "send a complete recording; WAV and FLAC always work"),
    (errors.FormatError, 422, "bad_file", "send a complete, unmodified .dacz file"),
    (errors.PriorError, 422, "prior_missing", "write the file with a prior that ships with dacodec"),
    (
        errors.ModelMismatchError,
        409,
        "model_mismatch",
        "use a server that serves this model; GET /v1/models lists the models of this one",
    ),
    (errors.ConfigError, 400, "bad_parameter", "see /openapi.json for the parameters"),
]


def problem_of(error: BaseException) -> Problem:
    """``error`` as a client may see it: nothing is revealed of an error that is not the client's."""
    if isinstance(error, Problem):
        return error
    for kind, status, code, remedy in _KINDS:
        if isinstance(error, kind):
            return Problem(status, code, _plain(error), remedy)
    return Problem(500, "internal", "the server failed", "try again; if it persists, tell the operator")


def _plain(error: BaseException) -> str:
    """The message on one line, without control characters that a client may have put in its file."""
    return errors.shown(" ".join(str(error).split())).replace("the given audio file", "the recording")
