"""The order of all tests."""

import signal

import pytest

FIRST = (
    "tests/e2e/test_kills.py",
    "tests/e2e/test_tuning.py",
    "tests/ci/rollout/test_deploy.py",
    "tests/test_jenkinsfile.py",
)
"""The files that take longest, so that no core waits for one of them at the end."""


def pytest_configure() -> None:
    """Take interrupts as a terminal's programs do: what a shell starts in the background ignores them."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files with slow tests first; within a file nothing changes."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}

    def key(item: pytest.Item) -> tuple[int, bool]:
        place = next((n for n, name in enumerate(FIRST) if item.nodeid.startswith(name)), len(FIRST))
        return place, item.path not in slow

    items.sort(key=key)
