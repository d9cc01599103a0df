"""A model of the Hugging Face hub, from its cache or, where there is a network, from the hub.

The hub's own cache and variables hold (HF_HOME, HF_HUB_OFFLINE, HF_ENDPOINT, HF_TOKEN). Only
safetensors, JSON and tokenizer files are fetched, never code or pickles.
"""

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING

from journeyman.errors import UpstreamError
from journeyman.events import Note, Progress, Reporter, ignore
from journeyman.model.embedded import NAME as EMBEDDED
from journeyman.model.folders import find_faults

if TYPE_CHECKING:
    # Not the hub's own class: that one is silenced for good wherever a model has been loaded.
    from tqdm.auto import tqdm

WEIGHTS = "*.safetensors"
WANTED = ("*.json", WEIGHTS, "*.jinja", "tokenizer.model", "merges.txt")
# Without a network the hub's client tries for minutes; one short question answers that at once.
ANSWER_WITHIN_S = 5.0


def is_hub_name(name: str) -> bool:
    """Whether a name has the form of the hub's: `owner/model` or `model`."""
    return re.fullmatch(r"[\w][\w.-]{0,95}(/[\w][\w.-]{0,95})?", name) is not None


def downloaded(name: str, report: Reporter = ignore) -> Path:
    """The folder of a hub model in the hub's cache, fetched where it is not complete.

    Raises UpstreamError with the reason and the ways out, within seconds where nobody answers.
    """
    from huggingface_hub import constants

    folder = cached(name)
    if folder is not None and not any("missing" in fault for fault in find_faults(folder)):
        return folder
    missing = "it is not in the hub's cache" if folder is None else "the copy in the cache is torn"
    if constants.HF_HUB_OFFLINE:
        raise _not_there(name, f"{missing}, and HF_HUB_OFFLINE is set")
    _require_answer(name, constants.ENDPOINT, missing)
    report(Note(f"downloading {name} from {constants.ENDPOINT} into the hub's cache"))
    return _fetch(name, report)


def cached(name: str) -> Path | None:
    """The folder of a hub model in the hub's cache, whole or not; None where there is none."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None


def small_files(name: str) -> Path:
    """The folder of a hub model with its config, tokenizer and template, fetched without weights.

    Raises UpstreamError within seconds where nobody answers.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise _not_there(name, "it is not in the hub's cache, and HF_HUB_OFFLINE is set")
    _require_answer(name, constants.ENDPOINT, "it is not in the hub's cache")
    return _fetch(name, ignore, tuple(one for one in WANTED if one != WEIGHTS))


def _require_answer(name: str, endpoint: str, missing: str) -> None:
    import httpx

    try:
        httpx.head(endpoint, timeout=ANSWER_WITHIN_S)
    except httpx.HTTPError as error:
        reason = f"{missing}, and {endpoint} cannot be reached ({type(error).__name__})"
        raise _not_there(name, reason) from error


def _fetch(name: str, report: Reporter, wanted: tuple[str, ...] = WANTED) -> Path:
    import httpx
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        bar = reporting_bar(f"download {name}", report)
        return Path(snapshot_download(name, allow_patterns=list(wanted), tqdm_class=bar))
    except (HfHubHTTPError, LocalEntryNotFoundError, httpx.HTTPError, OSError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise _not_there(name, f"the hub says: {reason[0]}") from error


def reporting_bar(task: str, report: Reporter) -> type["tqdm"]:
    """A progress bar class for the hub's client that reports bytes and prints nothing."""
    # Not the hub's own class: that one is silenced for good wherever a model has been loaded.
    from tqdm.auto import tqdm

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, *arguments: object, **options: object) -> None:
            # Its own output goes nowhere; only `display` below is of use.
            super().__init__(*arguments, **{**options, "file": io.StringIO(), "disable": False})

        def display(self, msg: str | None = None, pos: int | None = None) -> None:  # noqa: ARG002
            if getattr(self, "unit", "") == "B":
                report(Progress(task, self.n, self.total or None, "B"))

    return Bar


def _not_there(name: str, reason: str) -> UpstreamError:
    return UpstreamError(
        f"the base `{name}` cannot be had: {reason}",
        hint=f"where there is a network, run `hf download {name} --local-dir FOLDER`, copy the "
        f"folder here and give `--base FOLDER`; or use `--base {EMBEDDED}`",
    )
