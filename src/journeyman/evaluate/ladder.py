"""The rungs of one answer, each judged by itself: served, finished, form, runs, passes its checks.

S1 to S4 need an answer (S0) and nothing else of each other: an answer that was cut off after
correct code fails S1 and may pass S4. S3 is for agents whose answer is code.
"""

from collections import Counter

from journeyman.data.facts import has_open_fence
from journeyman.evaluate.executing import DETAIL_LIMIT, LOADS, CheckCode, checked
from journeyman.evaluate.extract import Extraction, after_thinking, extract
from journeyman.evaluate.form import form
from journeyman.evaluate.judged_tests import judged
from journeyman.evaluate.scored import EvaluationTask, Item, Score, ScoredItem, counts
from journeyman.evaluate.timing import decode_rate
from journeyman.records import Answer

LOOP_WORDS = 8
LOOP_REPEATS = 6
SHORTEST_TEXT = 40


def score(item: Item, task: EvaluationTask, check_code: CheckCode | None) -> ScoredItem:
    """All rungs of one item. check_code None: no sandbox, S3 and S4 are not measured."""
    answer = item.answer
    extraction = extract(answer.text, task.entry_point)
    scores = [served(answer)]
    if scores[0].passed:
        scores += [finished(answer, extraction), form(task, answer.text, extraction)]
    else:
        scores += [Score("S1", passed=False, code="not_served")]
        scores += [Score("S2", passed=False, code="not_served")]
    if counts("S3", task):
        scores.append(checked(extraction, (LOADS,), check_code, rung="S3"))
    if counts("S4", task):
        scores.append(checked(extraction, task.checks, check_code))
    if counts("S4t", task):
        scores.append(judged(extraction, task.checks, check_code))
    return ScoredItem(
        arm=item.arm,
        task=item.task,
        answer=answer,
        scores=tuple(scores),
        code=extraction.code,
        extract_rule=extraction.rule if scores[0].passed else "",
        strict=extraction.strict and bool(scores[0].passed),
        tokens_per_s=decode_rate(answer),
        peak_memory_bytes=item.peak_memory_bytes,
        load_s=item.load_s,
        other_load=item.other_load,
        memory=item.memory,
    )


def served(answer: Answer) -> Score:
    """S0: something came back."""
    if answer.finish == "error":
        return Score("S0", passed=False, code="error", detail=answer.error[:DETAIL_LIMIT])
    if not answer.text.strip():
        return Score("S0", passed=False, code="empty")
    return Score("S0", passed=True)


def finished(answer: Answer, extraction: Extraction) -> Score:
    """S1: the model came to its end, outside of its reasoning, without losing itself."""
    spoken = after_thinking(answer.text)
    text = spoken or ""
    faults = {
        "limit": answer.finish == "length",
        "open_think": spoken is None,
        "no_answer": not text.strip(),
        "open_fence": has_open_fence(text),
        "repetition": repeats_itself(text),
        "unclean_text": "\ufffd" in text,
        # Code may be as short as it likes.
        "too_short": not extraction.code and len(text.strip()) < SHORTEST_TEXT,
    }
    code = next((code for code, found in faults.items() if found), "")
    return Score("S1", passed=not code, code=code)


def repeats_itself(text: str) -> bool:
    """True where eight words in a row occur more than six times."""
    words = text.split()
    runs = (tuple(words[i : i + LOOP_WORDS]) for i in range(len(words) - LOOP_WORDS + 1))
    return any(count > LOOP_REPEATS for count in Counter(runs).values())
