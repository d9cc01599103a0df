"""Answers and likelihoods of a small real model are the same in a second run, item by item."""

from pathlib import Path

import pytest

from journeyman.evaluate.records.evaluation import Evaluation
from journeyman.evaluate.stage import evaluate
from journeyman.inference.torch_engine import TorchEngine
from journeyman.model.base import find_base
from journeyman.records import Message
from tests.end_to_end.test_evaluate import settings_in
from tests.small_models import small_model


def said(result: Evaluation) -> list[object]:
    every = [*result.items, *(one for suite in result.suites for one in suite.items)]
    return [
        (one.item.arm, one.item.task, one.item.answer.text, one.item.answer.answer_tokens,
         one.item.answer.finish, one.scores) for one in every
    ]  # fmt: skip


def test_a_second_run_gives_the_same_item_by_item(tmp_path: Path) -> None:
    # An engine keeps nothing between answers, so that one of each will do: loading takes long.
    engines = {
        arm: TorchEngine(find_base(str(small_model(tmp_path / arm, seed=seed))), threads=1)
        for seed, arm in enumerate(("base", "tuned"))
    }
    results = []
    for run in ("first", "second"):
        settings = settings_in(
            tmp_path / run, suites="likelihood,humaneval", limit_humaneval=2, max_tokens=3
        )
        results.append(evaluate(settings, open_engine=lambda arm: engines[arm.id]))
    first, second = results
    assert said(first) == said(second)
    assert len(said(first)) == 2 * (6 + 2)
    assert len({one.item.answer.text for one in first.items}) > 1
    likelihood = first.suite("likelihood")
    assert likelihood is not None
    assert likelihood.likelihood is not None
    assert likelihood == second.suite("likelihood")


def test_likelihood_is_the_loss_that_training_counts(tmp_path: Path) -> None:
    engine = TorchEngine(find_base(str(small_model(tmp_path / "model"))), threads=1)
    said = (Message("user", "Add one and two."), Message("assistant", "That makes three."))
    nats = engine.answer_nats(said, limit=100)
    answer = engine.chat.answer_ids("That makes three.")
    assert len(nats) == len(answer)
    # A random model knows nothing: each of 49 152 tokens costs about ln(49152) = 10.8 nats.
    assert sum(nats) / len(nats) == pytest.approx(10.8, abs=0.5)
    assert engine.answer_nats(said, limit=2) == pytest.approx(nats[:2], abs=1e-4)
