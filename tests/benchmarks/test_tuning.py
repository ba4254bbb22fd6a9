"""What the lines of `benchmarks.tuning` compare, on runs that are written down here."""

import json

import pytest

from benchmarks import curves, kinds, ranks, tuning, warm, workers
from benchmarks.lines import Line
from benchmarks.searches import SEARCHES


def run(values: list[float], epochs: list[int] | None = None) -> dict:
    """A search whose trials were stopped where they have fewer than all epochs."""
    epochs = epochs or [curves.EPOCHS] * len(values)
    return {"values": values, "epochs": epochs, "stopped": [each < curves.EPOCHS for each in epochs]}


def test_a_stopped_trial_and_one_that_ends_too_late_are_no_result_of_a_search():
    searched = run([1.0, 0.1, 0.9, 0.2], [16, 2, 16, 16])
    assert curves.within(searched, 34) == 0.9
    assert curves.within(searched, 33) == 1.0
    assert curves.within(searched, 50) == 0.2


def test_a_curve_falls_to_the_order_of_regret_and_slow_ones_cross_fast_ones():
    learning = next(iter(curves.CURVES.values()))
    slow, fast = ({f"x{axis}": start for axis in range(5)} for start in (0.0, 1.0))
    for values in (slow, fast):
        curve = learning.curve(values)
        assert len(curve) == curves.EPOCHS
        assert curve == sorted(curve, reverse=True)
        assert max(curve) < curves.START
    assert learning.curve(slow)[0] > learning.curve(fast)[0]


@pytest.mark.parametrize(("ours", "holds"), [(0.5, True), (2.0, False)])
def test_stopping_is_compared_at_equal_epochs_and_a_line_says_whether_it_holds(ours, holds):
    problem = next(iter(curves.CURVES_HELD))
    runs = {
        (problem, curves.OURS, 0, curves.TRIALS): run([ours]),
        (problem, curves.ASHA, 0, curves.TRIALS): run([1.0]),
        (problem, curves.WHOLE, 0, curves.BUDGET // curves.EPOCHS): run([1.0]),
    }
    lines = list(curves.lines(runs))
    assert [line.holds for line in lines] == [holds] * 4
    assert [line.value for line in lines[::2]] == [pytest.approx(ours)] * 2


def test_a_warm_start_is_compared_after_ten_and_after_forty_trials():
    jobs = [(problem, seed, trials) for problem, seed, trials in warm.jobs(None)]
    cold = {(problem, warm.COLD, seed, trials): run([8.0] * 30 + [1.0] * 20) for problem, seed, trials in jobs}
    begun = {(problem, warm.WARM, seed, trials): run([2.0] * trials) for problem, seed, trials in jobs}
    early, late = warm.lines({**cold, **begun})
    assert (early.value, early.holds) == (pytest.approx(0.25, rel=1e-4), True)
    assert (late.value, late.holds) == (pytest.approx(2.0, rel=1e-4), False)
    assert list(warm.lines(cold)) == []


def test_an_earlier_search_is_of_the_same_function_at_another_place():
    problem = warm.PROBLEMS["Ackley-5"]
    width = 2 * 32.768
    earlier, moved = ({f"x{axis}": place for axis in range(5)} for place in (-warm.MOVED * width, 0.0))
    assert warm.Earlier(problem).curve(earlier)[0] == pytest.approx(warm.SCALED * problem.curve(moved)[0], abs=1e-9)


def test_eight_workers_are_compared_in_as_many_trials_and_in_as_much_time():
    runs = {}
    for problem in (*workers.FIRST, *workers.HELD):
        runs[problem, workers.ALONE, 0, 50] = run([8.0] * 6 + [1.0] * 44)
        runs[problem, workers.TOGETHER, 0, 50] = run([2.0] * 50)
    found = {line.name: (line.value, line.holds) for line in workers.lines(runs)}
    for label in ("the 4", "8 held out"):
        equal = found[f"regret of 8 workers / 1, geometric mean of {label}"]
        in_time = found[f"regret of 8 workers / 1 in the same time, geometric mean of {label}"]
        assert equal == (pytest.approx(2.0, rel=1e-4), False)
        assert in_time == (pytest.approx(0.25, rel=1e-4), True)
    assert list(workers.lines({})) == []


def test_every_search_that_is_wanted_exists_and_the_quick_ones_are_few():
    whole, quick = (list(tuning._jobs(quick=is_quick)) for is_quick in (False, True))
    assert {job[0] for job in whole} == set(warm.PROBLEMS)
    assert {job[1] for job in whole} == set(SEARCHES)
    assert len(set(whole)) > 2000
    assert len(set(quick)) < 100
    assert {job[3] for job in quick} <= {tuning.QUICK_TRIALS, curves.TRIALS}


def test_each_half_is_ranked_against_every_peer_that_ran_on_all_of_it():
    best = {(name, search): [1.0] * ranks.SEEDS for name in kinds.HELD for search in ("ours", *ranks.PEERS)}
    best |= {(name, "ours"): [0.5, 2.0] for name in kinds.HELD}
    del best[next(iter(kinds.HELD)), ranks.SLOW]
    found = {line.name: (line.value, line.holds) for line in ranks.lines(best)}
    first = kinds.HELD[next(iter(kinds.HELD))].dimensions
    assert f"{first}D held out: wins against {ranks.SLOW}" not in found
    for dimensions in kinds.DIMENSIONS:
        assert found[f"{dimensions}D held out: wins against Optuna GP"] == (0.5, False)
    assert found["10D held out: mean rank of 6, ours"] == (3.5, True)


def test_seeds_that_only_some_searches_have_run_yet_are_not_ranked():
    names = [name for name, kind in kinds.HELD.items() if kind.dimensions == 3]
    best = {(name, "ours"): [0.5, 9.0] for name in names} | {(name, "Optuna GP"): [1.0] for name in names}
    best[names[0], "Optuna GP"] = [1.0, 1.0]
    found = {line.name: line.value for line in ranks.lines(best)}
    assert found["3D held out: wins against Optuna GP"] == pytest.approx(len(names) / (len(names) + 1))


def test_every_search_may_have_run_when_the_picture_is_drawn_and_none_of_its_problems(tmp_path):
    picture = tmp_path / "tuning.png"
    few = {(problem, search, 0, 3): run([3.0, 1.0, 2.0]) for problem in ("Branin", "task") for search in SEARCHES}
    kind = {(next(iter(kinds.HELD)), search, 0, 3): run([3.0, 1.0, 2.0]) for search in SEARCHES}
    tuning._plot(kind, picture)
    assert not picture.exists()
    tuning._plot(few | kind, picture)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_runs_of_another_benchmark_that_was_killed_are_read_up_to_there(tmp_path):
    whole = json.dumps({"problem": "Branin", "search": "ours", "seed": 0, **run([1.0])})
    (tmp_path / "runs").write_text(f"{whole[:40]}\n{whole}\n{whole[:-9]}")
    assert list(tuning._read(tmp_path / "runs")) == [("Branin", "ours", 0, 1)]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "runs has none of these searches: run them first, without --kept"),
        ('{"problem": "Bra\n', "runs has none of these searches"),
        ('\n{"problem": "Bra{"problem": "Branin"}\n', "runs:2: is no search: remove the line"),
        ('{"problem": "Branin"}\n', "runs:1: is no search"),
        ("[]\n{}\n", "runs:2: is no search"),
        ("\udcff", "runs cannot be read"),
        (None, "runs has none of these searches"),
    ],
)
def test_a_file_without_runs_is_an_error_and_the_page_of_before_stays(content, problem, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / "runs").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(SystemExit, match="2"):
        tuning.main(["--kept", "--runs", "runs"])
    assert problem in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} <= {"runs"}


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--kept", "--only", "ours"], "--kept writes the whole table: leave out --only and --problems"),
        (["--only", "Ours"], "no search of the whole has these names"),
        (["--problems", "task"], "train.parquet is missing"),
    ],
)
def test_options_that_can_do_nothing_are_an_error(options, problem, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        tuning.main(options)
    assert problem in capsys.readouterr().err


def test_the_page_says_what_falls_short_and_how_much_was_not_run():
    best = {("Branin", "ours"): [1.0, 3.0], ("Branin", "Optuna GP"): [5.0] * 10}
    lines = [Line("regret", 2.0, "<= 1", False), Line("other", 0.5, "printed", True)]
    page = tuning._page(best, lines, done=12, missing=3)
    assert "| regret | 2 | <= 1 | **no** |" in page
    assert "| other | 0.5 | printed |  |" in page
    assert "from 12 searches. 3 more" in page
    assert "| Branin | 2 | 2 | 5 |  |" in page
    assert "not run" not in tuning._page(best, lines, done=12, missing=0)
