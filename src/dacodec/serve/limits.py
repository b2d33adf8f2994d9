"""How much of everything a client may use."""

from __future__ import annotations

from dataclasses import dataclass, fields

from dacodec.errors import ConfigError

MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Each is checked before memory is allocated for what it limits."""

    body_bytes: int = 64 * MIB
    json_bytes: int = 8 * MIB  # parsed JSON takes many times its size
    memory_bytes: int = 1024 * MIB  # bodies, samples and results of all requests together
    audio_seconds: float = 600.0  # per recording
    channels: int = 8
    least_rate: int = 4000  # Hz
    most_rate: int = 192000  # Hz
    requests: int = 64  # being received, queued, coded or sent
    sessions: int = 16  # open streams
    connections: int = 512
    message_bytes: int = MIB  # per message of a stream
    header_seconds: float = 10.0  # for a connection to send its request's head
    body_seconds: float = 60.0  # for the body to arrive
    request_seconds: float = 300.0  # for a request to be coded
    send_seconds: float = 30.0  # for a client to take the next piece of a response
    idle_seconds: float = 30.0  # between two messages of a stream
    session_seconds: float = 3600.0  # per stream
    stop_seconds: float = 30.0  # for running requests once the server is asked to stop

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) > 0:
                raise ConfigError(f"{field.name} must be more than 0, got {getattr(self, field.name)}")
