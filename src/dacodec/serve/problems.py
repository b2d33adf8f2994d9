"""What goes wrong, as problem details (RFC 9457): a status, a code for programs, what is wrong and what to do."""

from __future__ import annotations

from typing import Any

from dacodec import errors

PROBLEM_JSON = "application/problem+json"


class Problem(Exception):
    """Raised wherever a request must end.

    Args:
        status: of the response.
        code: a name that programs can tell apart; it never changes.
        detail: what is wrong.
        remedy: what to do about it.
        retry_after: seconds, where trying again helps.
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


# The first that fits counts. What is wrong with the bytes of a client is 422; messages name the remedy themselves.
_KINDS: list[tuple[type[errors.DacodecError], int, str, str]] = [
    (errors.RowError, 422, "bad_rows", "send rows as the layout has them; docs/live.md shows them"),
    (errors.CodesError, 422, "bad_codes", "send integers [channels, codebooks, frames] that the model has"),
    (errors.AudioError, 422, "bad_audio", "send a whole recording; WAV or FLAC are read in any case"),
    (errors.FormatError, 422, "bad_file", "send a whole .dacz file as it was written"),
    (errors.PriorError, 422, "prior_missing", "write the file with a prior that comes with the package"),
    (
        errors.ModelMismatchError,
        409,
        "model_mismatch",
        "ask a server that has this model; see GET /v1/models",
    ),
    (errors.ConfigError, 400, "bad_parameter", "see /openapi.json for what there is"),
]


def problem_of(error: BaseException) -> Problem:
    """``error`` for a client. Of what nobody thought of it tells nothing."""
    if isinstance(error, Problem):
        return error
    for kind, status, code, remedy in _KINDS:
        if isinstance(error, kind):
            return Problem(status, code, _plain(error), remedy)
    return Problem(500, "internal", "the server failed", "try again; if it happens again, tell its operator")


def _plain(error: BaseException) -> str:
    """Its message in one line. What names a client put into a file cannot steer a terminal."""
    return errors.shown(" ".join(str(error).split())).replace("the given audio file", "the recording")
