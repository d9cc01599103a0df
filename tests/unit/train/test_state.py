"""The state of a run: what counts as a loss spike."""

from journeyman.train.state import is_spike


def test_a_loss_of_twenty_times_is_a_spike_and_noise_is_not() -> None:
    """Fault 28."""
    before = [1.0, 1.1, 0.9, 1.05, 0.95, 1.0, 1.02, 0.98]
    assert is_spike(20.0, before)
    assert not is_spike(1.2, before)
    assert not is_spike(20.0, before[:7])
