"""Malformed requests do no harm. scripts/attack_service.py sends thousands of them."""

import collections
import threading

import pytest
from malformed import ALLOWED, Attacker
from serving import SPEECH, post, request, service_of
from websockets.sync.client import connect

N = 15  # of each kind


@pytest.fixture(scope="module")
def dacz(address):
    return post(address, "/v1/encode", SPEECH.read_bytes()).body


@pytest.mark.parametrize("kind", [kind.__name__ for kind in Attacker("", b"").kinds])
def test_malformed_requests_are_refused_and_leave_nothing_behind(kind, dacz, server, address, caplog):
    attacker = Attacker(address, dacz, seed=len(kind))
    attack = next(k for k in attacker.kinds if k.__name__ == kind)
    statuses = collections.Counter(attack() for _ in range(3 if kind == "bomb" else N))
    attacker.close()
    assert set(statuses) - {None} <= ALLOWED, statuses
    assert not [record for record in caplog.records if record.exc_info], caplog.text
    service = service_of(server)
    for _ in range(1000):
        if not service.admission.requests and not service.admission.sessions:
            break
        threading.Event().wait(0.01)
    assert service.admission.requests == service.admission.sessions == service.admission.held_bytes == 0
    assert request(address, "GET", "/healthz").status == 200
    assert post(address, "/v1/encode", SPEECH.read_bytes()).body == dacz


def test_no_path_from_a_client_reaches_the_file_system(address, dacz):
    for path in (
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static//etc/passwd",
        "/etc/passwd",
        "/static/",
    ):
        assert request(address, "GET", path).status == 404
    playlist = b"#EXTM3U\nfile:///etc/passwd\n"
    for body in (
        playlist,
        b"ffconcat version 1.0\nfile '/etc/passwd'\n",
        b"/etc/passwd",
        b"http://localhost/x",
    ):
        answer = post(address, "/v1/encode", body)
        assert answer.status == 422
        assert b"root:" not in answer.body


def test_pages_of_other_sites_are_refused(address):
    """Whether or not the browser asks first; and there is no CORS header to let them read a response."""
    own = address.removeprefix("http://")
    for headers, status in (
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "evil.example"}, 421),
        ({"Origin": address}, 200),
        ({"Origin": f"http://{own}", "Host": own}, 200),
    ):
        answer = post(address, "/v1/encode", SPEECH.read_bytes(), headers)
        assert answer.status == status, headers
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    url = address.replace("http", "ws") + "/v1/stream/encode"
    with pytest.raises(Exception, match="403"), connect(url, origin="http://evil.example"):
        pass
