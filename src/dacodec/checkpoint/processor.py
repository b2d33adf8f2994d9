"""The feature extractor with files."""

from __future__ import annotations
