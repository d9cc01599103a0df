"""Models of the Hugging Face hub: from its cache, or downloaded.

The hub's own cache and variables apply (HF_HOME, HF_HUB_OFFLINE, HF_ENDPOINT, HF_TOKEN). Only
safetensors, JSON and tokenizer files are downloaded, never code or pickles.
"""

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING

from journeyman.errors import UpstreamError
from journeyman.events import Note, Progress, Reporter, ignore
from journeyman.model.embedded import NAME as EMBEDDED
from journeyman.model.folder_checks import find_faults

if TYPE_CHECKING:
    from tqdm.auto import tqdm

WEIGHTS = "*.safetensors"
WANTED = ("*.json", WEIGHTS, "*.jinja", "tokenizer.model", "merges.txt")
# Without a network the hub's client retries for minutes, so one short request comes first.
ANSWER_WITHIN_S = 5.0
_NOT_CACHED = "it is not in the hub's cache"


def is_hub_name(name: str) -> bool:
    """Whether a name has the form of a hub name: `owner/model` or `model`."""
    return re.fullmatch(r"[\w][\w.-]{0,95}(/[\w][\w.-]{0,95})?", name) is not None


def download(name: str, report: Reporter = ignore) -> Path:
    """The folder of a hub model in the hub's cache, downloaded if it is incomplete.

    Raises UpstreamError, within seconds if the hub does not answer.
    """
    from huggingface_hub import constants

    folder = cached(name)
    if folder is not None and not any("missing" in fault for fault in find_faults(folder)):
        return folder
    reason = _NOT_CACHED if folder is None else "the copy in the hub's cache is incomplete"
    _require_hub(name, reason)
    report(Note(f"downloading {name} from {constants.ENDPOINT} into the hub's cache"))
    return _download_files(name, report)


def cached(name: str) -> Path | None:
    """The folder of a hub model in the hub's cache, complete or not; None if there is none."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None


def small_files(name: str) -> Path:
    """The folder of a hub model's config, tokenizer and template, downloaded without weights.

    Raises UpstreamError, within seconds if the hub does not answer.
    """
    _require_hub(name, _NOT_CACHED)
    return _download_files(name, ignore, tuple(one for one in WANTED if one != WEIGHTS))


def _require_hub(name: str, reason: str) -> None:
    """Raise UpstreamError if the hub is off or does not answer. reason: why it is needed."""
    import httpx
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise _unavailable(name, f"{reason}, and HF_HUB_OFFLINE is set")
    try:
        httpx.head(constants.ENDPOINT, timeout=ANSWER_WITHIN_S)
    except httpx.HTTPError as error:
        reason += f", and {constants.ENDPOINT} cannot be reached ({type(error).__name__})"
        raise _unavailable(name, reason) from error


def _download_files(name: str, report: Reporter, wanted: tuple[str, ...] = WANTED) -> Path:
    import httpx
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        bar = reporting_bar(f"download {name}", report)
        return Path(snapshot_download(name, allow_patterns=list(wanted), tqdm_class=bar))
    except (HfHubHTTPError, LocalEntryNotFoundError, httpx.HTTPError, OSError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise _unavailable(name, f"the hub reports: {reason[0]}") from error


def reporting_bar(task: str, report: Reporter) -> type["tqdm"]:
    """A progress bar class for the hub's client that reports bytes and prints nothing."""
    # Not the hub's own class, which loading a model silences for the rest of the process.
    from tqdm.auto import tqdm

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, *arguments: object, **options: object) -> None:
            # Its own output is discarded; only `display` below is used.
            super().__init__(*arguments, **{**options, "file": io.StringIO(), "disable": False})

        def display(self, msg: str | None = None, pos: int | None = None) -> None:  # noqa: ARG002
            if getattr(self, "unit", "") == "B":
                report(Progress(task, self.n, self.total or None, "B"))

    return Bar


def _unavailable(name: str, reason: str) -> UpstreamError:
    return UpstreamError(
        f"the base `{name}` is not available: {reason}",
        hint=f"on a machine with a network run `hf download {name} --local-dir FOLDER`, copy the "
        f"folder here and use `--base FOLDER`; or use `--base {EMBEDDED}`",
    )
