"""What the program detect-secrets finds in a text, for who asks for it besides our own patterns.

Its file scan is used, on a file without a name: the scan of single lines finds other things and
searches by entropy. Plugins that go by entropy are off, since code is full of hashes, and so is the
one for public addresses, which are `journeyman.data.personal`'s. Not covered: secrets that its own
filters take for stand-ins.
"""

import os
from collections.abc import Iterator

from journeyman.errors import MachineError

_OFF = frozenset(("Base64HighEntropyString", "HexHighEntropyString", "IPPublicDetector"))


def require_scanner() -> None:
    """Raise MachineError where the program is not installed."""
    try:
        import detect_secrets  # noqa: F401
    except ImportError as error:
        raise MachineError(
            "`--detect-secrets` needs the package `detect-secrets`, which is not installed",
            hint="pip install 'journeyman[secrets]', or leave the option out: own patterns remain",
        ) from error


def scanned(text: str) -> Iterator[tuple[str, str]]:
    """Each secret in a text as it stands there, with its kind, such as `jwt-token`."""
    from detect_secrets.core.scan import scan_file
    from detect_secrets.settings import default_settings, get_settings

    if not text.strip():
        return
    descriptor = os.memfd_create("text")
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as stream:
            stream.write(text.encode("utf-8", "replace"))
        with default_settings():
            get_settings().disable_plugins(*_OFF)
            # The descriptor has a path only as long as this process has it open.
            for found in list(scan_file(f"/proc/self/fd/{descriptor}")):
                if found.secret_value:
                    yield found.secret_value, "-".join(found.type.casefold().split())
    finally:
        os.close(descriptor)
