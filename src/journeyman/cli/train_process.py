"""One of several processes of `journeyman train --processes N`; not meant to be run by hand."""

import sys
from typing import NoReturn

import msgspec

from journeyman.cli import guarded
from journeyman.cli.train import act
from journeyman.settings import TrainSettings
from journeyman.train.launching import end_with_parent


def command(settings: TrainSettings) -> list[str]:
    """The command line of such a process."""
    text = msgspec.json.encode(settings, enc_hook=str).decode()
    return [sys.executable, "-m", __name__, text]


def main() -> NoReturn:
    """Train with the settings in the first argument."""
    end_with_parent()
    settings = msgspec.json.decode(
        sys.argv[1], type=TrainSettings, dec_hook=lambda kind, value: kind(value)
    )
    sys.exit(guarded(lambda: act(settings), ("train",)))


if __name__ == "__main__":
    main()
