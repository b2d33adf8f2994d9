"""The ``dacodec`` command: its subcommands, and how errors become one line and an exit code."""

from __future__ import annotations

import signal
import sys

import typer

from dacodec import __version__, errors
from dacodec.cli import (
    decode,
    download,
    encode,
    eval,
    finetune,
    import_dac,
    import_weights,
    info,
    peel,
    play,
    repair,
    spectrogram,
    stream,
    train,
    verify,
    warned,
)

# What a script can tell apart. 1 is anything else, 2 wrong usage (typer's own), 130 Ctrl-C, 143 asked to end
# (SIGTERM).
EXIT_CODES: list[tuple[type[errors.DacodecError], int]] = [
    (errors.CodesError, 2),
    (errors.AudioError, 3),
    (errors.InputError, 3),
    (errors.FormatError, 4),
    (errors.PriorError, 5),
    (errors.ModelMismatchError, 5),
    (errors.CheckpointError, 6),
    (errors.OutputError, 7),
]

app = typer.Typer(
    help="The Descript Audio Codec: audio to a few kbit/s and back.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command("encode")(encode.encode)
app.command("decode")(decode.decode)
app.command("info")(info.info)
app.command("play")(play.play)
app.command("spectrogram")(spectrogram.spectrogram)
app.add_typer(stream.app, name="stream")
app.command("download")(download.download)
app.command("peel")(peel.peel)
app.command("verify")(verify.verify)
app.command("repair")(repair.repair)
app.command("import-dac")(import_dac.import_dac)
app.command("import-weights")(import_weights.import_weights)
app.command("train", context_settings=train.OVERRIDES)(train.train)
app.command("eval")(eval.evaluate)
app.command("finetune", context_settings=train.OVERRIDES)(finetune.finetune)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"dacodec {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    pass


def main() -> None:
    """Run the command line; errors that dacodec raises on purpose become one line on stderr."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an exception, so that half outputs are removed
    warned.install()
    try:
        app()
    except errors.DacodecError as error:
        message = " ".join(str(error).split())
        print(f"dacodec: {message}", file=sys.stderr)
        sys.exit(next((code for kind, code in EXIT_CODES if isinstance(error, kind)), 1))
    except KeyboardInterrupt:
        print("dacodec: interrupted", file=sys.stderr)
        sys.exit(130)
