"""Signals: the first requests a stop, the second ends the process at once."""

import os
import signal
import threading

import pytest

from journeyman.errors import Interrupted
from journeyman.train.stop_signal import StopRequest


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_requests_a_stop(number: signal.Signals) -> None:
    with StopRequest() as stop:
        assert not stop.requested
        signal.raise_signal(number)
        assert stop.requested


def test_before_there_is_anything_to_save_the_first_signal_raises() -> None:
    with pytest.raises(Interrupted), StopRequest(deferred=False):
        signal.raise_signal(signal.SIGTERM)


def test_the_second_signal_ends_the_process_with_75() -> None:
    child = os.fork()
    if child == 0:
        with StopRequest():
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 75


def test_handlers_are_restored_even_after_an_error() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError), StopRequest():
        _ = 1 / 0
    assert signal.getsignal(signal.SIGTERM) == before


def test_outside_of_the_main_thread_it_does_not_listen() -> None:
    heard = []

    def work() -> None:
        with StopRequest() as stop:
            heard.append(stop.requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert heard == [False]
