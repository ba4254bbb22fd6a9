"""What every command shares: how it is interrupted."""

import os
import signal
import threading

import pytest

from ci.command import patient


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_patient_block_goes_on_after_one_interrupt_and_not_after_two(capfd, number):
    before = signal.getsignal(number)
    with patient("this is tried") as interrupted:
        assert not interrupted()
        os.kill(os.getpid(), number)
        assert interrupted()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before
    assert capfd.readouterr().err == "interrupted: this is tried; once more ends it at once\n"


def test_a_thread_has_no_signals_to_be_patient_with():
    told = []

    def work():
        with patient("nothing") as interrupted:
            told.append(interrupted())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert told == [False]
