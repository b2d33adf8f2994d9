import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from serving import serving

from dacodec import Codec


@pytest.fixture(scope="session")
def codec():
    codec = Codec.from_pretrained("builtin", threads=1)
    codec.chunk_seconds = 1.0
    return codec


@pytest.fixture(scope="session")
def server(codec):
    with serving([codec]) as running:
        yield running


@pytest.fixture(scope="session")
def address(server):
    return server.address
