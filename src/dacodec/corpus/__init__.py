"""Whole corpora to tokens and back. Needs ``pip install dacodec[corpus]``."""

from dacodec.errors import InstallationError

try:
    import fsspec  # noqa: F401
    import pyarrow  # noqa: F401
except ImportError as error:
    raise InstallationError(f"corpora need more packages ({error}): pip install dacodec[corpus]") from error
