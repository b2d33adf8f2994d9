"""The ``dacodec`` command: its subcommands, and how errors become one line and an exit code."""

from __future__ import annotations

import io
import signal
import sys

import typer

from dacodec import __version__, errors
from dacodec.cli import (
    decode,
    detokenize,
    download,
    encode,
    eval,
    export,
    finetune,
    import_dac,
    import_weights,
    info,
    peel,
    play,
    repair,
    serve,
    spectrogram,
    stream,
    tokenize,
    tokens,
    train,
    verify,
    warned,
)
from dacodec.cli.messages import complain
from dacodec.cli.naming import naming_its_input
from dacodec.cli.overrides import CommandWithOverrides
from dacodec.installation import refuse_zip

# Exit codes for scripts. 1 is anything else, 2 wrong usage (typer's own), 130 Ctrl-C, 143 SIGTERM.
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
app.command("encode")(naming_its_input(encode.encode))
app.command("decode")(naming_its_input(decode.decode))
app.command("info")(naming_its_input(info.info))
app.command("play")(naming_its_input(play.play))
app.command("spectrogram")(spectrogram.spectrogram)
app.add_typer(stream.app, name="stream")
app.command("serve")(serve.serve)
app.command("download")(download.download)
app.command("peel")(naming_its_input(peel.peel))
app.command("verify")(naming_its_input(verify.verify))
app.command("repair")(naming_its_input(repair.repair))
app.command("import-dac")(naming_its_input(import_dac.import_dac))
app.command("import-weights")(import_weights.import_weights)
app.command("train", cls=CommandWithOverrides)(train.train)
app.command("tokenize")(tokenize.tokenize)
app.command("detokenize")(detokenize.detokenize)
app.add_typer(tokens.app, name="tokens")
app.command("eval")(eval.evaluate)
app.command("export")(export.export)
app.command("finetune", cls=CommandWithOverrides)(finetune.finetune)


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
    """Run the command line; dacodec's own errors, and warnings, become one line each on stderr."""
    warned.install()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # raises, so that partial outputs are removed
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name in a script that the terminal does not know.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        refuse_zip()
        app()
    except errors.DacodecError as error:
        complain(error)
        sys.exit(next((code for kind, code in EXIT_CODES if isinstance(error, kind)), 1))
    except KeyboardInterrupt:
        complain("interrupted")
        sys.exit(130)
