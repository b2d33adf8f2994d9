"""Shared by the tests of recordings."""

import warnings

import pytest


@pytest.fixture
def no_warning_passes():
    """A warning that a test does not expect is a failure."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
