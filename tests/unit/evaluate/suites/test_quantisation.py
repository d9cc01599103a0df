"""A report of llama-perplexity is read strictly and compared with two limits."""

import pytest

from journeyman.errors import UpstreamError
from journeyman.evaluate.records.evaluation import Arm
from journeyman.evaluate.suites.quantisation import parse_report, window_for

# The program's own layout (llama.cpp, tools/perplexity/perplexity.cpp); the figures are made up.
REPORT = """kl_divergence: computing over 4 chunks, n_ctx=256, batch_size=256, n_seq=1
chunk             PPL               ln(PPL(Q)/PPL(base))          KL Divergence
   4       9.1000 ±    0.5000       0.00910 ±    0.00200       0.01500 ±    0.00100
====== Perplexity statistics ======
Mean PPL(Q)                   :   9.100000 ±   0.500000
Mean PPL(base)                :   9.017000 ±   0.490000
Cor(ln(PPL(Q)), ln(PPL(base))):  99.80%
====== KL divergence statistics ======
Mean    KLD:   0.015000 ±   0.001000
Maximum KLD:   0.900000
99.9%   KLD:   0.700000
99.0%   KLD:   0.120000
Median  KLD:   0.006000
====== Token probability statistics ======
Same top p: 93.500 ± 0.900 %
"""


ARM = Arm("tuned", "m.gguf", "llama.cpp", "abc", path="x/m.gguf", quantization="Q4_K_M")


def test_every_figure_is_taken_from_its_own_line() -> None:
    found = parse_report(REPORT, ARM, "def")
    assert (found.mean_kl, found.mean_kl_error, found.p99_kl, found.max_kl) == (
        0.015, 0.001, 0.12, 0.9,
    )  # fmt: skip
    assert (found.perplexity, found.perplexity_f16) == (9.1, 9.017)
    assert found.same_top == pytest.approx(0.935)
    # Four windows of 256, of each of which the second half but one counts.
    assert found.tokens == 4 * 127
    assert (found.state, found.quantised, found.f16) == ("OK", "m.gguf", "m.f16.gguf")


def test_the_lines_that_are_kept_give_the_same_figures() -> None:
    found = parse_report(f"loading\n{REPORT}", ARM, "def")
    assert len(found.lines) == 7
    assert parse_report("\n".join(found.lines), ARM, "def") == found


@pytest.mark.parametrize(
    ("old", "new"), [("KLD:   0.015000", "KLD:   0.051000"), ("93.500", "89.900")]
)
def test_either_limit_warns(old: str, new: str) -> None:
    assert parse_report(REPORT.replace(old, new), ARM, "def").state == "WARN"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Same top p: 93.500 ± 0.900 %", ""),
        ("0.015000 ±   0.001000", "nan ±   nan"),
        ("Maximum KLD:", "Maximum KLD: 0.1\nMaximum KLD:"),
        ("computing over 4 chunks", "computing"),
        ("93.500", "193.500"),
    ],
)
def test_a_report_that_is_not_whole_is_refused(old: str, new: str) -> None:
    assert old in REPORT
    with pytest.raises(UpstreamError):
        parse_report(REPORT.replace(old, new), ARM, "def")


def test_too_little_text_is_known_before_a_model_is_loaded() -> None:
    assert [window_for("x" * n) for n in (1000, 1280, 2560, 10_000)] == [None, 128, 256, 512]
