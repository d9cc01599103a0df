"""From the log to the trained tokens of a cut-off answer, and of a whole one."""

from pathlib import Path

import pytest

from journeyman.data.dataset import TRAIN, read_examples
from journeyman.model.chat import Chat
from journeyman.prepare.stage import prepare
from journeyman.settings import PrepareSettings
from journeyman.train.batching.rows import TokenRow, read_rows
from tests.logs import log_row, write_log
from tests.small_models import END_OF_TURN, small_tokenizer

CUT = "The parser reads one line and"
WORDS = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heron", "inlet", "jetty")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, list[TokenRow]]:
    """The training rows in tokens, by whether their answer was cut off."""
    from transformers import AutoTokenizer

    folder: Path = tmp_path_factory.mktemp("labels")
    log = write_log(
        folder / "log.jsonl",
        [
            log_row(
                task__description=f"Write {word} {number * number}",
                execution__output=f"{CUT} {word}" if number % 2 else f"It is {word}.",
            )
            for number, word in enumerate(WORDS * 2)
        ],
    )
    prepare(PrepareSettings(input=log, output_dir=folder / "data", policy="salvage"))
    tokenizer = AutoTokenizer.from_pretrained(str(small_tokenizer(folder / "tokenizer")))
    chat = Chat(tokenizer, tokenizer.chat_template, frozenset({END_OF_TURN}))
    path = folder / "data" / TRAIN
    cut = {one.id for one in read_examples(path) if CUT in one.messages[-1].content}
    found: dict[bool, list[TokenRow]] = {True: [], False: []}
    for row in read_rows(path, chat, max_tokens=2048).used:
        found[row.id in cut].append(row)
    return found


def test_the_end_of_turn_is_trained_only_for_whole_answers(
    rows: dict[bool, list[TokenRow]],
) -> None:
    assert rows[True]
    assert rows[False]
    for is_cut, found in rows.items():
        for row in found:
            assert row.ids[-1] == END_OF_TURN
            # If it is False, the label is -100: the token does not count in the loss.
            assert row.trained[-1] is not is_cut


def test_the_words_of_a_cut_off_answer_are_trained(rows: dict[bool, list[TokenRow]]) -> None:
    for row in (*rows[True], *rows[False]):
        first = row.trained.index(True)
        assert END_OF_TURN not in row.ids[first:-1]
        assert not any(row.trained[:first])
        assert all(row.trained[first:-1])
