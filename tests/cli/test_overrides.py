"""Keys of a config beside a command's own arguments and options."""

import pytest
from typer.testing import CliRunner

from dacodec.cli.main import app
from dacodec.cli.overrides import split

OWN = {"--out", "--help"}


@pytest.mark.parametrize(
    ("line", "rest", "found"),
    [
        ("MODEL --data.sources X", "MODEL", "--data.sources X"),
        ("--data.sources X MODEL", "MODEL", "--data.sources X"),
        ("MODEL --steps=3 CONFIG --out O", "MODEL CONFIG --out O", "--steps=3"),
        ("--out --steps 3", "--out", "--steps 3"),
        ("--out=O --seed -1", "--out=O", "--seed -1"),
        ("--compile --steps 3 MODEL", "MODEL", "--compile --steps 3"),
        ("MODEL --steps", "MODEL", "--steps"),
        ("-- MODEL", "-- MODEL", ""),
    ],
)
def test_split(line, rest, found):
    assert split(line.split(), OWN) == (rest.split(), found.split())


@pytest.mark.parametrize(
    ("line", "recipe", "overrides"),
    [
        (
            ["finetune", "MODEL", "--data.sources", '["a"]'],
            "finetune",
            ["--model=null", "--data.sources", '["a"]'],
        ),
        (["finetune", "--steps", "2", "MODEL", "my.yaml"], "my.yaml", ["--model=null", "--steps", "2"]),
        (["train", "--steps=2", "smoke", "--out", "o", "--seed", "1"], "smoke", ["--steps=2", "--seed", "1"]),
    ],
)
def test_a_key_is_never_taken_for_the_config(line, recipe, overrides, monkeypatch):
    calls = []
    monkeypatch.setattr("dacodec.training.config.load_config", lambda *args, **_: calls.append(args))
    monkeypatch.setattr("dacodec.training.loop.fit", lambda _: None)
    CliRunner().invoke(app, line)
    assert calls == [(recipe, overrides)]
