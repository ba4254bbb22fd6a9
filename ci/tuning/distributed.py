"""A chief and its workers: keras-tuner's protocol, made to survive the death of either.

keras-tuner's own environment variables decide what a process is: KERASTUNER_TUNER_ID (the chief's contains "chief"),
KERASTUNER_ORACLE_IP and KERASTUNER_ORACLE_PORT. A stock `OracleClient` works against the chief here too.
"""

import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from contextlib import contextmanager
from typing import Any

from ci.errors import InputError, StageError

POLL = 0.05
"""Pause between looks at processes and at the end of a search; seconds."""
PATIENCE = 300.0
"""How long a worker waits for a chief that does not answer; seconds."""
LINGER = 10.0
"""How long the chief of a finished search waits for workers to be told; seconds."""
FAILURES, KILLS = 3, 100
"""How often a worker may fail by itself, and how often any process may be killed, before the search is given up."""


def serve(oracle: Any) -> None:
    """Answer workers until the search is over and they know.

    Raises:
        InputError: another process has the port.
    """
    import grpc
    from keras_tuner.src import protos
    from keras_tuner.src.distribute.oracle_chief import OracleServicer

    class Servicer(OracleServicer):  # type: ignore[misc]
        def CreateTrial(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
            response = super().CreateTrial(request, context)
            if response.trial.status == protos.get_proto().TrialStatus.IDLE:
                with self.oracle.changed:  # workers ask again at once
                    self.oracle.changed.wait(0.2)
            return response

        def EndTrial(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
            from keras_tuner.src.engine.trial import Trial

            trial = Trial.from_proto(request.trial)
            # The protocol has no field for the reason of a failure; our client sends it beside the message.
            reason = dict(context.invocation_metadata()).get("reason-bin")
            trial.message = reason.decode() if reason else None
            self.oracle.end_trial(trial)
            return protos.get_service().EndTrialResponse()

    address = f"{os.environ['KERASTUNER_ORACLE_IP']}:{os.environ['KERASTUNER_ORACLE_PORT']}"
    server = grpc.server(futures.ThreadPoolExecutor(16), options=[("grpc.so_reuseport", 0)])
    protos.get_service_grpc().add_OracleServicer_to_server(Servicer(oracle), server)
    try:
        bound = server.add_insecure_port(address)
    except RuntimeError:
        bound = 0
    if not bound:
        raise InputError(f"KERASTUNER_ORACLE_PORT: {address} is in use: end its owner, or set another port")
    oracle.reload()
    server.start()
    finished: float | None = None
    while not oracle.is_over:
        time.sleep(POLL)
        finished = (finished or time.monotonic()) if oracle.is_complete else None
        if finished is not None and time.monotonic() - finished > LINGER:
            break
    server.stop(grace=1).wait()


def connect(oracle: Any) -> Any:
    """Return keras-tuner's client of the chief, with calls that are repeated while the chief is being restarted."""
    import grpc
    from keras_tuner.src import protos
    from keras_tuner.src.distribute.oracle_client import OracleClient

    class Repeat(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc]
        def intercept_unary_unary(self, proceed: Any, details: Any, request: Any) -> Any:
            deadline = time.monotonic() + PATIENCE
            while True:
                call = proceed(details, request)
                if call.code() != grpc.StatusCode.UNAVAILABLE or time.monotonic() > deadline:
                    return call
                time.sleep(0.1)

    class Client(OracleClient):  # type: ignore[misc]
        def end_trial(self, trial: Any) -> None:
            reason = (trial.message or "").encode()[-4000:]
            self.stub.EndTrial(
                protos.get_service().EndTrialRequest(trial=trial.to_proto()),
                metadata=[("reason-bin", reason)] if reason else [],
            )

    client = Client(oracle)
    address = f"{os.environ['KERASTUNER_ORACLE_IP']}:{os.environ['KERASTUNER_ORACLE_PORT']}"
    channel = grpc.insecure_channel(
        address, options=[("grpc.max_reconnect_backoff_ms", 500), ("grpc.initial_reconnect_backoff_ms", 100)]
    )
    client.stub = protos.get_service_grpc().OracleStub(grpc.intercept_channel(channel, Repeat()))
    return client


@contextmanager
def heartbeat(oracle: Any, trial_id: str, interval: float) -> Iterator[None]:
    """Tell the chief every `interval` seconds that a trial is still being run; end with the parent process."""
    over, parent = threading.Event(), os.getppid()

    def beat() -> None:
        while not over.wait(interval):
            if os.getppid() != parent:  # nobody is left to tell
                os._exit(1)
            oracle.update_trial(trial_id, {})

    thread = threading.Thread(target=beat, daemon=True, name="heartbeat")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def run(command: Sequence[str], workers: int, environment: Mapping[str, str]) -> None:
    """Run a chief and workers on this machine until the search is over; whoever dies is started again.

    Args:
        command: what each process runs; its environment says what it is.
        workers: number of workers.
        environment: variables for all of them.

    Raises:
        InputError: the chief says that its input is wrong.
        StageError: the chief failed, or a process ends too often.
    """
    address = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": str(_free_port())}

    def start(name: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, env={**environment, **address, "KERASTUNER_TUNER_ID": name})

    names = ["chief", *(f"worker-{number}" for number in range(workers))]
    supervise(names, start)


def supervise(names: Sequence[str], start: Callable[[str], Any]) -> None:
    """Start the named processes, the chief first, and start again whoever dies before the chief has ended well.

    Args:
        names: of the processes; the first is the chief.
        start: starts one, returning a `Popen`.

    Raises:
        InputError: the chief ended with exit code 2.
        StageError: the chief ended with exit code 1, or a process ends too often.
    """
    processes = {name: start(name) for name in names}
    failures, kills = Counter[str](), Counter[str]()
    chief = names[0]
    try:
        while (code := processes[chief].poll()) not in (0, 1, 2):
            for name, process in processes.items():
                if process.poll() in (None, 0):
                    continue
                (kills if process.returncode < 0 else failures)[name] += 1
                if failures[name] >= FAILURES or kills[name] >= KILLS:
                    raise StageError(f"{name} ended again and again, the last time with code {process.returncode}")
                print(f"{name} ended with code {process.returncode}: starting it again", file=sys.stderr, flush=True)
                processes[name] = start(name)
            time.sleep(POLL)
    finally:
        _end(list(processes.values()))
    if code == 2:
        raise InputError("the search could not begin: the reason is above")
    if code == 1:
        raise StageError("the search failed: the reason is above")


def _end(processes: Sequence[Any]) -> None:
    """Give processes a moment to end by themselves, then end them."""
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline and any(process.poll() is None for process in processes):
        time.sleep(POLL)
    for process in processes:
        if process.poll() is None:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
