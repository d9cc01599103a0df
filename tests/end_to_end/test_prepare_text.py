"""`text` in the dataset is what the trainer renders, whatever the base is."""

from pathlib import Path

import pytest

from journeyman.data.dataset import read_examples
from journeyman.errors import UsageError
from journeyman.events import Caution, Event, Note
from journeyman.model.base import find_base
from journeyman.model.chat import load_chat
from journeyman.model.chat_template import CHATML
from journeyman.model.embedded import NAME as EMBEDDED
from journeyman.prepare.chat_template import find_renderer
from journeyman.prepare.stage import prepare
from journeyman.records import Message
from journeyman.settings import PrepareSettings
from tests.logs import task_rows, write_log
from tests.small_models import small_model

TALK = (Message("user", "Add."), Message("assistant", "Yes."))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model(tmp_path_factory.mktemp("bases") / "base")


def test_the_text_is_what_the_trainer_renders(folder: Path, tmp_path: Path) -> None:
    log = write_log(tmp_path / "log.jsonl", task_rows(20))
    settings = PrepareSettings(input=log, output_dir=tmp_path / "data", base=str(folder))
    prepared = prepare(settings)
    base = find_base(str(folder))
    chat = load_chat(base)
    assert prepared.metadata.template_sha256 == base.template_sha256
    for example in read_examples(prepared.folder / "train.jsonl"):
        assert example.text == chat.render(example.messages)


def test_the_embedded_base_has_the_template_of_its_file(folder: Path) -> None:
    # The small model's folder holds SmolLM2's own tokenizer and template.
    renderer = find_renderer(EMBEDDED, lambda _: None)
    base = find_base(str(folder))
    chat = load_chat(base)
    assert renderer.sha256 == base.template_sha256
    assert renderer.text(TALK) == chat.render(TALK)


def test_a_hub_model_in_the_cache_gives_its_own_template(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "models--acme--tiny"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text("a1", encoding="utf-8")
    (model / "snapshots" / "a1").mkdir(parents=True)
    (model / "snapshots" / "a1" / "chat_template.jinja").write_text("{{ eos_token }}!")
    config = '{"eos_token": {"content": "<end>"}}'
    (model / "snapshots" / "a1" / "tokenizer_config.json").write_text(config)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert find_renderer("acme/tiny", lambda _: None).text(TALK) == "<end>!"


@pytest.mark.parametrize(
    ("base", "kind"), [("Qwen/Qwen2.5-Coder-7B-Instruct", Note), ("acme/other", Caution)]
)
def test_a_base_that_is_not_on_this_machine_is_rendered_in_chatml_with_a_warning(
    base: str, kind: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    events: list[Event] = []
    assert find_renderer(base, events.append).template == CHATML
    (event,) = events
    assert isinstance(event, kind)
    assert f"the chat template of `{base}` is not on this machine" in str(event)


@pytest.mark.parametrize("base", ["./missing", "missing.gguf", "a/b/c"])
def test_a_base_that_cannot_be_is_refused(base: str) -> None:
    with pytest.raises(UsageError, match="is neither a model folder nor a GGUF file"):
        find_renderer(base, lambda _: None)
