"""A search alone, or by a chief and its workers: keras-tuner's protocol, made to survive the death of any of them.

keras-tuner's own environment variables decide what a process is: KERASTUNER_TUNER_ID (the chief's contains "chief"),
KERASTUNER_ORACLE_IP and KERASTUNER_ORACLE_PORT. A stock `OracleClient` works against the chief here too.
"""

import json
import os
import threading
import time
from concurrent import futures
from numbers import Real
from typing import Any

import grpc
import keras_tuner
from keras_tuner.engine.trial import Trial
from keras_tuner.src import protos
from keras_tuner.src.distribute import utils as distribution
from keras_tuner.src.distribute.oracle_chief import OracleServicer
from keras_tuner.src.distribute.oracle_client import OracleClient
from keras_tuner.src.engine import tuner_utils

from ci.errors import InputError
from ci.tuning.processes import end_with_parent

POLL = 0.05
"""Pause between two checks whether the search is over; seconds."""
PATIENCE = 10.0
"""How long a worker waits for the chief before it prints that it waits; seconds."""
LINGER = 10.0
"""How long the chief of a finished search goes on answering, so that workers learn of the end; seconds."""
BEATS = 6
"""Heartbeats within the silence after which a worker is taken for dead."""
RETRY = {"maxAttempts": 5, "initialBackoff": "0.1s", "maxBackoff": "1s", "backoffMultiplier": 2}
"""How often and when a call is repeated after the chief died: as soon as the next chief is ready."""


class Tuner(keras_tuner.Tuner):  # type: ignore[misc]
    """keras-tuner's tuner with a report after every epoch, a heartbeat, and no files: the oracle keeps the search."""

    def __init__(self, oracle: Any, *arguments: Any, **keywords: Any) -> None:
        """Take keras-tuner's arguments; the environment says whether this is a chief, a worker or alone."""
        self._beat = oracle.heartbeat_timeout / BEATS
        super().__init__(oracle, *arguments, **keywords)
        if distribution.has_chief_oracle():
            end_with_parent()
        if self._is_worker():
            self.oracle = Client(oracle)

    def search(self, *arguments: Any, **keywords: Any) -> None:
        """Run trials until the oracle says that the search is over; a chief serves the oracle instead."""
        if distribution.is_chief_oracle():
            serve(self.oracle)
        else:
            super().search(*arguments, **keywords)

    def save(self) -> None:
        """Write nothing."""

    def _get_tuner_fname(self) -> str:
        return os.devnull + "/none"

    def on_epoch_end(self, trial: Any, model: Any, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Report an epoch, and end the training of a trial that need not go on."""
        metrics = {name: float(value) for name, value in (logs or {}).items()}
        if self.oracle.update_trial(trial.trial_id, metrics, step=epoch).status == "STOPPED":
            model.stop_training = True

    def _run_and_update_trial(self, trial: Any, *arguments: Any, **keywords: Any) -> None:
        over = threading.Event()

        def beat() -> None:
            while not over.wait(self._beat):
                self.oracle.update_trial(trial.trial_id, {})

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            results = self.run_trial(trial, *arguments, **keywords)
        finally:
            over.set()
            thread.join()
        every = results if isinstance(results, list) else [results]
        if all(isinstance(each, (Real, dict)) for each in every):  # what keras reports was reported epoch by epoch
            metrics = tuner_utils.convert_to_metrics_dict(results, self.oracle.objective)
            self.oracle.update_trial(trial.trial_id, {name: float(value) for name, value in metrics.items()})


class Client(OracleClient):  # type: ignore[misc]
    """keras-tuner's client, but calls survive a restart of the chief, and a failed trial's reason is sent."""

    def __init__(self, oracle: Any) -> None:
        """Connect to the chief that the environment names."""
        super().__init__(oracle)
        policy = {**RETRY, "retryableStatusCodes": ["UNAVAILABLE"]}
        options = {
            "grpc.service_config": json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": policy}]}),
            "grpc.initial_reconnect_backoff_ms": 100,
            "grpc.max_reconnect_backoff_ms": 500,
            "grpc.enable_http_proxy": 0,  # chief and workers share a machine or a cluster
        }
        channel = grpc.insecure_channel(_address(), list(options.items()))
        self.stub = protos.get_service_grpc().OracleStub(channel)
        try:
            grpc.channel_ready_future(channel).result(timeout=PATIENCE)
        except grpc.FutureTimeoutError:
            print(f"  no chief answers at {_address()} yet: waiting for one", flush=True)

    def end_trial(self, trial: Any) -> None:
        """Report the end; the protocol has no field for the reason of a failure, so it goes beside the message."""
        request = protos.get_service().EndTrialRequest(trial=trial.to_proto())
        reason = (trial.message or "").encode()[-4000:]
        self.stub.EndTrial(request, metadata=[("reason-bin", reason)], wait_for_ready=True)


class Servicer(OracleServicer):  # type: ignore[misc]
    """keras-tuner's server of an oracle, with the reason of a failure."""

    def EndTrial(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        """Take in a trial that ended."""
        trial = Trial.from_proto(request.trial)
        trial.message = dict(context.invocation_metadata()).get("reason-bin", b"").decode(errors="replace") or None
        self.oracle.end_trial(trial)
        return protos.get_service().EndTrialResponse()


def serve(oracle: Any) -> None:
    """Answer workers until the search is over and they know it, or had time to.

    Raises:
        InputError: another process has the port, or the address is unknown.
    """
    server = grpc.server(futures.ThreadPoolExecutor(64), options=[("grpc.so_reuseport", 0)])
    protos.get_service_grpc().add_OracleServicer_to_server(Servicer(oracle), server)
    try:
        server.add_insecure_port(_address())
    except RuntimeError:
        problem = f"{_address()} is in use or no address of this machine: end its owner, or set another"
        raise InputError(f"KERASTUNER_ORACLE_IP, KERASTUNER_ORACLE_PORT: {problem}") from None
    oracle.reload()
    server.start()
    while not oracle.is_complete:
        time.sleep(POLL)
    deadline = time.monotonic() + LINGER
    while oracle.tuner_ids and time.monotonic() < deadline:
        time.sleep(POLL)
    server.stop(grace=1).wait()


def _address() -> str:
    host = os.environ["KERASTUNER_ORACLE_IP"]
    return f"{f'[{host}]' if ':' in host else host}:{os.environ['KERASTUNER_ORACLE_PORT']}"
