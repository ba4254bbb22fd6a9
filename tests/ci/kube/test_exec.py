"""A command in a container while the API server is in trouble."""

import socket
from collections.abc import Iterator

import pytest
from kubernetes import client

from ci.kube.api import ApiServer
from ci.kube.exec import Broken, Place, execute

PLACE = Place("model-pipeline", "plan-1", "tools")


@pytest.fixture
def silent() -> Iterator[ApiServer]:
    """An API server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        settings = client.Configuration()
        settings.host = f"http://127.0.0.1:{server.getsockname()[1]}"
        yield ApiServer(client=client.ApiClient(settings))


def test_a_server_that_takes_the_connection_and_says_nothing_is_not_waited_for_for_ever(silent):
    with pytest.raises(Broken, match="took the connection and said nothing"):
        execute(silent, PLACE, ["true"], out=print, err=print, silence=0.3)


def test_who_waits_for_such_a_server_can_be_interrupted(silent):
    asked: list[int] = []

    def tick() -> None:
        asked.append(1)
        if len(asked) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(silent, PLACE, ["true"], out=print, err=print, tick=tick)
