"""``python -m dacodec``."""

from dacodec.cli.main import main

main()
