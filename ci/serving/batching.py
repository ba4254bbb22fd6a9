"""Batches under a latency target: requests that come while one is computed are computed together.

How many rows fit is found as Clipper does (Crankshaw and others 2017): a few more after each full batch that took no
longer than the target, a tenth less after one that did. Nothing waits for company: a lone request is computed at once.
The model must answer each row by itself, as TensorFlow Serving's batching asks of it too.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np

from ci.serving.model import Version
from ci.serving.tensors import Array, Request

_MORE = 8
"""Rows that are added to the limit at once."""
_LESS = 0.9
"""What is left of the limit after a batch that took too long."""


@dataclass(frozen=True)
class Asked:
    """One request that was read: which signature of which version is to run on what."""

    request: Request
    version: Version
    signature: str
    arrays: dict[str, Array]

    @property
    def rows(self) -> int | None:
        """How many rows it has; None if its inputs have no first axis in common, so that it is computed alone."""
        shapes = [array.shape for array in self.arrays.values()]
        sizes = {shape[0] if shape else None for shape in shapes}
        return sizes.pop() if len(sizes) == 1 else None

    def kind(self) -> Any:
        """Return what is equal for requests that can be computed together."""
        inputs = tuple(sorted((name, array.dtype.str, array.shape[1:]) for name, array in self.arrays.items()))
        return (id(self.version), self.signature, inputs)


@dataclass(eq=False)
class Waiting:
    """One request that waits for its answer."""

    read: Callable[[], Asked]
    answer: "asyncio.Future[bytes]"
    asked: Asked | None = None


@dataclass(frozen=True)
class Took:
    """What one batch was: the requests with what became of them, its seconds, and whether more rows would have come."""

    outcomes: list[tuple[Waiting, bytes | Exception]]
    seconds: float
    full: bool


def adapted(limit: int, target: float, seconds: float, *, full: bool, alone: bool) -> int:
    """Return how many rows the next batch may have.

    Args:
        limit: what this batch might have; rows.
        target: how long a batch may take; seconds.
        seconds: how long this one took.
        full: it had as many as it might.
        alone: it was one request, which cannot be divided, so that its time says nothing against the limit.
    """
    if seconds > target:
        return limit if alone else max(1, int(limit * _LESS))
    return limit + _MORE if full else limit


class Batches:
    """The requests that wait, and the threads that compute them.

    Args:
        pool: runs batches.
        threads: how many at the same time.
        target: how long a batch should take; seconds.
        run: computes a signature's outputs.
        write: makes an answer's body of a request and its outputs.
    """

    def __init__(
        self,
        pool: Executor,
        threads: int,
        target: float,
        run: Callable[[Asked], dict[str, Array]],
        write: Callable[[Request, dict[str, Array]], bytes],
    ):
        self.limit = 1
        self._pool, self._threads, self._target, self._compute, self._write = pool, threads, target, run, write
        self._queue: deque[Waiting] = deque()
        self._running = 0

    async def answer(self, read: Callable[[], Asked]) -> bytes:
        """Return the answer to a request, which `read` parses in a thread.

        Raises:
            Refused: as `read` and the computation do.
        """
        waiting = Waiting(read, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._start()
        return await waiting.answer

    def _start(self) -> None:
        if self._queue and self._running < self._threads:
            self._running += 1
            asyncio.get_running_loop().run_in_executor(self._pool, self._work).add_done_callback(self._done)

    def _done(self, took: "asyncio.Future[Took]") -> None:
        """Give each request its answer, and begin the next batch. Only here, in the loop, the limit changes."""
        self._running -= 1
        found = took.result()
        if found.outcomes:
            alone = len(found.outcomes) == 1
            self.limit = adapted(self.limit, self._target, found.seconds, full=found.full, alone=alone)
        for waiting, outcome in found.outcomes:
            if waiting.answer.done():  # its connection is gone
                continue
            if isinstance(outcome, Exception):
                waiting.answer.set_exception(outcome)
            else:
                waiting.answer.set_result(outcome)
        self._start()

    def _work(self) -> Took:
        begin = time.perf_counter()
        batch, outcomes, full = self._take()
        for group in _groups(batch):
            outcomes += self._answers(group)
        return Took(outcomes, time.perf_counter() - begin, full)

    def _take(self) -> tuple[list[Waiting], list[tuple[Waiting, bytes | Exception]], bool]:
        """Take what fits into a batch: the requests, those that are refused, and whether the batch is full."""
        batch: list[Waiting] = []
        refused: list[tuple[Waiting, bytes | Exception]] = []
        rows, limit = 0, self.limit
        while rows < limit:
            try:
                waiting = self._queue.popleft()
            except IndexError:
                return batch, refused, False
            try:
                waiting.asked = waiting.asked or waiting.read()
            except Exception as error:  # the API tells the client's faults from ours
                refused.append((waiting, error))
                rows += 1
                continue
            size = waiting.asked.rows or 1
            if batch and rows + size > limit:
                self._queue.appendleft(waiting)
                return batch, refused, True
            batch.append(waiting)
            rows += size
        return batch, refused, True

    def _answers(self, group: Sequence[Waiting]) -> Iterator[tuple[Waiting, bytes | Exception]]:
        """Yield the answer to each request of a group that can be computed together."""
        asked = [waiting.asked for waiting in group if waiting.asked]
        parts = self._together(asked) if len(asked) > 1 else None
        for place, (waiting, each) in enumerate(zip(group, asked, strict=True)):
            try:
                yield waiting, self._write(each.request, parts[place] if parts else self._compute(each))
            except Exception as error:
                yield waiting, error

    def _together(self, asked: Sequence[Asked]) -> list[dict[str, Array]] | None:
        """Return the outputs for each request; None if they must be computed one by one.

        That is so where one of them is refused, which must be no other's fault, and where an output has not a row for
        each row that was asked.
        """
        first = asked[0]
        ends = np.cumsum([each.rows or 0 for each in asked])
        try:
            arrays = {name: np.concatenate([each.arrays[name] for each in asked]) for name in first.arrays}
            outputs = self._compute(Asked(first.request, first.version, first.signature, arrays))
        except Exception:  # each is computed by itself then, and whose fault it is gets its own
            return None
        if any(array.ndim == 0 or len(array) != ends[-1] for array in outputs.values()):
            return None
        split = {name: np.split(array, ends[:-1]) for name, array in outputs.items()}
        return [{name: parts[place] for name, parts in split.items()} for place in range(len(asked))]


def _groups(batch: Sequence[Waiting]) -> list[list[Waiting]]:
    """Return the requests of a batch by what can be computed together, in their order."""
    groups: dict[Any, list[Waiting]] = {}
    for waiting in batch:
        asked = waiting.asked
        groups.setdefault(asked.kind() if asked and asked.rows is not None else id(waiting), []).append(waiting)
    return list(groups.values())
