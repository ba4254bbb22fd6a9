import random
import threading
import time

import pytest

from ci.errors import InputError, StageError
from ci.tuning.oracle import RandomOracle
from tests.ci.tuning import light


def assert_complete(search: light.Search) -> None:
    """Exactly `max_trials` different trials have finished."""
    oracle = search.result()
    assert len(oracle.trials) == search.max_trials
    assert [trial.status for trial in oracle.trials.values()] == ["COMPLETED"] * search.max_trials
    assert sorted(oracle.end_order) == sorted(oracle.trials)
    assert len({tuple(sorted(t.hyperparameters.values.items())) for t in oracle.trials.values()}) == search.max_trials
    for trial in oracle.trials.values():
        assert trial.score == pytest.approx(light.score(trial.hyperparameters.values))


class Failing(light.Light):
    def run_trial(self, trial, *_, **__):
        raise ValueError(f"trial {trial.trial_id} ran out of memory")


def test_a_chief_and_workers_run_every_trial_once(tmp_path):
    search = light.Search(tmp_path, 12)
    search.run(workers=3)
    assert_complete(search)
    assert sorted(search.runs()) == sorted(search.result().trials)


def test_a_killed_worker_s_trial_is_run_again_and_counted_once(tmp_path):
    """keras-tuner 1.4.8: the chief waits for ever."""
    search = light.Search(tmp_path, 8)

    def kill() -> None:
        while not search.runs():
            time.sleep(0.01)
        search.living["worker-0"].kill()

    threading.Thread(target=kill, daemon=True).start()
    search.run(workers=1)
    assert_complete(search)
    assert len(search.runs()) == 9


def test_a_proxy_of_the_environment_does_not_come_between_workers_and_their_chief(tmp_path, monkeypatch):
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "no_grpc_proxy"):
        monkeypatch.setenv(name, "localhost")
    search = light.Search(tmp_path, 3)
    chief = search.start("chief")
    search.start("worker-0")
    assert chief.wait(timeout=60) == 0
    assert_complete(search)
    assert "no chief answers" not in (tmp_path / "worker-0.log").read_text()


def test_a_killed_worker_that_nobody_starts_again_is_noticed_by_its_silence(tmp_path):
    search = light.Search(tmp_path, 6, heartbeat_timeout=3.0)  # a busy machine may be silent for a second
    chief, doomed = search.start("chief"), search.start("worker-0")
    while not search.runs():
        time.sleep(0.01)
    doomed.kill()
    search.start("worker-1")
    assert chief.wait(timeout=120) == 0
    assert_complete(search)


def test_a_restarted_chief_runs_no_trial_twice(tmp_path):
    """keras-tuner 1.4.8: trials that were running are run again although their workers live."""
    search = light.Search(tmp_path, 10)

    def kill() -> None:
        while len(search.runs()) < 4:
            time.sleep(0.01)
        search.living["chief"].kill()

    threading.Thread(target=kill, daemon=True).start()
    search.run(workers=2)
    assert_complete(search)
    assert sorted(search.runs()) == sorted(search.result().trials)


def test_a_chief_that_is_killed_once_its_workers_were_told_of_the_end_ends_too(tmp_path):
    """Three failures in a row ended the search: its workers have gone, and the next chief does not know."""
    for attempt in range(5):  # the moment is short, and a busy machine may miss it
        folder = tmp_path / str(attempt)
        folder.mkdir()
        search = light.Search(folder, 20, tuner=Failing, max_retries_per_trial=0)
        killer = threading.Thread(target=_kill_last, args=(search, killed := []), daemon=True)
        killer.start()
        begun = time.monotonic()
        search.run(workers=2)
        killer.join()
        assert time.monotonic() - begun < 30
        assert [trial.status for trial in search.result().trials.values()][-3:] == ["FAILED"] * 3
        if killed:
            return
    pytest.fail("the chief ended before it could be killed, five times")


def _kill_last(search, killed):
    """Kill the chief of two workers once both have ended, and note it, unless it has ended too."""
    while "worker-1" not in search.living or any(search.living[f"worker-{n}"].poll() is None for n in (0, 1)):
        time.sleep(0.002)
    if search.living["chief"].poll() is None:
        search.living["chief"].kill()
        killed.append(1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_ten_kills_at_random_moments_lose_and_repeat_nothing(tmp_path, seed):
    search = light.Search(tmp_path, 120, kind=RandomOracle, seed=seed)
    draw, kills, done = random.Random(seed), [], threading.Event()

    def kill() -> None:
        while len(kills) < 10 and not done.wait(draw.uniform(0.05, 0.3)):
            victim = draw.choice(["chief", "worker-0", "worker-1"])
            if victim in search.living and search.living[victim].poll() is None:
                search.living[victim].kill()
                kills.append(victim)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    try:
        search.run(workers=2)
    finally:
        done.set()
        killer.join()
    assert_complete(search)
    assert len(kills) == 10


def test_three_failures_in_a_row_end_a_distributed_search_with_their_reasons(tmp_path):
    """keras-tuner 1.4.8: the chief raises while it holds its lock, and hangs."""
    search = light.Search(tmp_path, 20, tuner=Failing, max_retries_per_trial=1)
    begun = time.monotonic()
    search.run(workers=2)
    assert time.monotonic() - begun < 20
    oracle = search.result()
    failed = [trial for trial in oracle.trials.values() if trial.status == "FAILED"]
    assert len(failed) >= 3
    assert "ran out of memory" in failed[0].message
    assert oracle._run_times[failed[0].trial_id] == 2


def test_a_port_in_use_is_an_error_that_names_it(tmp_path):
    first, second = light.Search(tmp_path / "a", 1), light.Search(tmp_path / "b", 1)
    second.address = first.address
    for search in (first, second):
        search.folder.mkdir()
    chief = first.start("chief")
    time.sleep(0.5)
    assert second.start("chief").wait(timeout=10) == 2
    assert f"{first.address['KERASTUNER_ORACLE_PORT']} is in use" in (second.folder / "chief.log").read_text()
    chief.kill()


@pytest.mark.parametrize("host", ["192.0.2.7", "no-such-host.invalid"])
def test_an_address_that_is_not_this_machine_s_is_an_error_that_names_it(tmp_path, host):
    search = light.Search(tmp_path, 1)
    search.address["KERASTUNER_ORACLE_IP"] = host
    assert search.start("chief").wait(timeout=10) == 2
    told = (search.folder / "chief.log").read_text()
    assert f"KERASTUNER_ORACLE_IP, KERASTUNER_ORACLE_PORT: {host}:" in told
    assert "no address of this machine" in told


def test_two_chiefs_on_one_folder_are_an_error_that_names_the_other(tmp_path):
    first, second = light.Search(tmp_path, 1), light.Search(tmp_path, 1)
    chief = first.start("chief")
    time.sleep(0.5)
    other = second.start("chief")
    assert other.wait(timeout=10) == 2
    assert "another search (process" in (tmp_path / "chief.log").read_text()
    chief.kill()


class Stock(light.Light):
    """A worker with keras-tuner's own client."""

    def __init__(self, oracle, *arguments, **keywords):
        from keras_tuner.src.distribute.oracle_client import OracleClient

        super().__init__(oracle, *arguments, **keywords)
        if self._is_worker():
            self.oracle = OracleClient(oracle)


def test_keras_tuner_s_own_client_works_against_the_chief(tmp_path):
    search = light.Search(tmp_path, 6, tuner=Stock)
    search.run(workers=2)
    assert_complete(search)


def test_a_worker_that_fails_by_itself_again_and_again_ends_the_search(tmp_path):
    class Process:
        returncode = 3

        def __init__(self, code):
            self.code = code

        def poll(self):
            return self.code

        def kill(self):
            self.code = -9

        def wait(self):
            return self.code

    from ci.tuning import processes

    with pytest.raises(StageError, match="worker-0 ended again and again, the last time with code 3"):
        processes.supervise(["chief", "worker-0"], lambda name: Process(None if name == "chief" else 3))
    with pytest.raises(InputError):
        processes.supervise(["chief"], lambda _: Process(2))
