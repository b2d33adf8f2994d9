"""How much of everything a client may have."""

from __future__ import annotations

from dataclasses import dataclass, fields

from dacodec.errors import ConfigError

MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """All are looked at before memory is taken for what they limit."""

    body_bytes: int = 64 * MIB
    json_bytes: int = 8 * MIB  # parsed JSON takes many times its size
    memory_bytes: int = 1024 * MIB  # of bodies, samples and results of all requests together
    audio_seconds: float = 600.0  # of a recording
    channels: int = 8
    least_rate: int = 4000  # Hz
    most_rate: int = 192000  # Hz
    requests: int = 64  # that are received, waiting, coded or sent
    sessions: int = 16  # streams
    connections: int = 512
    message_bytes: int = MIB  # of a stream
    header_seconds: float = 10.0  # until a connection has sent a request's head
    body_seconds: float = 60.0  # until a request's body is there
    request_seconds: float = 300.0  # until a request is coded
    send_seconds: float = 30.0  # until a client has taken the next piece of a response
    idle_seconds: float = 30.0  # between two messages of a stream
    session_seconds: float = 3600.0  # of a stream
    stop_seconds: float = 30.0  # for what runs, once the server is to stop

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) > 0:
                raise ConfigError(f"{field.name} must be more than 0, got {getattr(self, field.name)}")
