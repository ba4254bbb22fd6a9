"""The client against a double of Jenkins' remote API that is a server of its own."""

import contextlib
import socket
from collections.abc import Iterator
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci.errors import InputError, StageError
from ci.jenkins import client
from ci.jenkins.build import Build
from ci.jenkins.client import Queued
from ci.jenkins.remote import Away, Refused, Remote, Unsure
from tests.ci.jenkins.double import PASSWORD, TOKEN, Controller, serving

PARAMETERS = [
    {"name": "AS_OF", "type": "StringParameterDefinition"},
    {"name": "STRATEGY", "type": "ChoiceParameterDefinition", "choices": ["", "bayesian", "random"]},
    {"name": "SETTINGS", "type": "TextParameterDefinition"},
    {"name": "DEPLOY", "type": "BooleanParameterDefinition", "default": "true"},
    {"name": "REQUEST", "type": "StringParameterDefinition"},
]


class Talk:
    """A client, what it said, and what it paused for."""

    def __init__(self, url: str, secret: str = TOKEN, patience: float = 20.0) -> None:
        self.said: list[str] = []
        self.pauses: list[float] = []
        self.meanwhile = lambda: None
        self.remote = Remote(url, "robot", secret, patience=patience, say=self.said.append, pause=self.pause)

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.meanwhile()


@pytest.fixture
def jenkins() -> Controller:
    controller = Controller()
    controller.job("/job/model-pipeline/", PARAMETERS)
    return controller


@pytest.fixture
def url(jenkins: Controller) -> Iterator[str]:
    with serving(jenkins) as found:
        yield found


@pytest.fixture
def talk(url: str) -> Talk:
    return Talk(url)


@pytest.fixture(scope="module")
def forever() -> Iterator[tuple[Controller, Talk]]:
    """One server for all examples of a property."""
    controller = Controller()
    controller.job("/job/model-pipeline/", PARAMETERS)
    with serving(controller) as found:
        yield controller, Talk(found)


def posts(jenkins: Controller) -> list[str]:
    return [path for method, path in jenkins.asked if method == "POST"]


def begin(talk: Talk, request: str = "one", **given: str) -> Queued | Build:
    return client.find(talk.remote, "model-pipeline").start(given, request)


def test_a_build_is_started_waited_for_and_followed_to_its_result(jenkins, talk):
    jenkins.waits, jenkins.chunks = 3, [b"Started\n", "größ".encode()[:3], "größ\ttab\n".encode()[3:], b"last"]
    job = client.find(talk.remote, "model-pipeline")
    build = job.wait(job.start({"AS_OF": "2013-07-01", "SETTINGS": "a=1\nb=$X ${Y} $$"}, "one"))
    lines: list[str] = []
    build.follow(lines.append)
    assert lines == ["Started", "größ    tab", "last"]
    assert build.result() == "SUCCESS"
    values = jenkins.items[1]["values"]
    assert values["SETTINGS"] == "a=1\nb=$X ${Y} $$"
    assert values["REQUEST"] == "one"
    assert [line for line in talk.said if "waits" in line] == [
        f"jenkins: model-pipeline waits: In the quiet period ({n})" for n in (2, 1, 0)
    ]
    assert posts(jenkins) == ["/job/model-pipeline/buildWithParameters"]
    assert all(each["Authorization"].startswith("Basic ") for each in jenkins.seen), (
        "unasked, with the first request too"
    )


@pytest.mark.parametrize("result", ["SUCCESS", "UNSTABLE", "FAILURE", "ABORTED", "NOT_BUILT"])
def test_results_are_those_of_jenkins(jenkins, talk, result):
    jenkins.result = result
    job = client.find(talk.remote, "model-pipeline")
    build = job.wait(job.start({}, "one"))
    build.follow(lambda _: None)
    assert build.result() == result


def test_a_password_is_sent_with_a_crumb_and_a_token_without(jenkins, url):
    for secret in (PASSWORD, TOKEN):
        jenkins.asked.clear()
        assert isinstance(begin(Talk(url, secret), request=secret), Queued)
        assert (("GET", "/crumbIssuer/api/json") in jenkins.asked) == (secret == PASSWORD)
    assert jenkins.started() == 2


def test_a_crumb_that_a_restart_made_worthless_is_fetched_again(jenkins, url):
    talk = Talk(url, PASSWORD)
    begin(talk, "one")
    jenkins.restart()
    begin(talk, "two")
    assert jenkins.started() == 2


def test_a_context_path_and_another_public_host_are_no_matter():
    jenkins = Controller("/ci", host="jenkins.elsewhere.example")
    jenkins.job("/job/team/job/model-pipeline/", PARAMETERS)
    with serving(jenkins) as url:
        talk = Talk(url)
        job = client.find(talk.remote, "team/model-pipeline")
        build = job.wait(job.start({}, "one"))
        build.follow(lambda _: None)
        assert build.url == "https://jenkins.elsewhere.example/ci/job/team/job/model-pipeline/1/"
        assert build.result() == "SUCCESS"
    assert all(path.startswith("/ci/") for _, path in jenkins.asked)
    assert {each["Host"] for each in jenkins.seen} == {url.removeprefix("http://").removesuffix("/ci")}


def test_a_branch_is_found_by_the_name_that_git_gives_it(jenkins, talk):
    inner = "/job/lab/job/feature%252Fone-two/"
    jenkins.job("/job/lab/", branches=[
        {"name": "main", "displayName": "main", "url": f"{jenkins.public}/job/lab/job/main/"},
        {"name": "feature%2Fone-two", "displayName": "feature/one-two", "url": jenkins.public + inner},
    ])  # fmt: skip
    jenkins.job(inner, PARAMETERS)
    job = client.find(talk.remote, "lab", "feature/one-two")
    assert (job.name, job.path) == ("lab/feature/one-two", inner)
    assert client.find(talk.remote, "lab/feature%2Fone-two").path == inner, "its full name in Jenkins"
    assert job.wait(job.start({}, "one")).number == 1
    for branch in (None, "feature", "feature%2Fone-two"):
        with pytest.raises(InputError, match=r"lab: Jenkins knows no branch .*it has feature/one-two, main"):
            client.find(talk.remote, "lab", branch)


@pytest.mark.parametrize("name", ["", "/", ".", "a/../b", "a//b", "a\nb", "a\0b"])
def test_what_is_no_name_of_a_job_is_refused_before_anything_is_asked(jenkins, talk, name):
    with pytest.raises(InputError, match=r"jenkins\.job: .* is no name of a job"):
        client.find(talk.remote, name)
    assert jenkins.asked == []


@pytest.mark.parametrize("name", ["a b", "a?b=c", "a#b", "a%2Fb", "$(id)", "`id`", "'\"", "ü", "${X}", "x" * 300])
def test_any_other_name_of_a_job_is_one_part_of_the_address(jenkins, talk, name):
    with pytest.raises(InputError, match="Jenkins has no job"):
        client.find(talk.remote, f"team/{name}")
    [(_, path)] = jenkins.asked
    assert [unquote(part) for part in path.split("/")] == ["", "job", "team", "job", name, "api", "json"]


# -- never twice --------


def test_the_same_request_starts_one_build_while_it_waits_runs_and_when_it_has_ended(jenkins, talk, url):
    first = begin(talk)
    assert begin(Talk(url)) == first
    job = client.find(talk.remote, "model-pipeline")
    build = job.wait(first)
    assert begin(talk) == build
    build.follow(lambda _: None)
    assert begin(talk) == build
    assert begin(talk, "another") != build
    assert jenkins.started() == 2


def test_an_equal_item_that_waits_is_taken(jenkins, url):
    jenkins.jobs["/job/model-pipeline/"]["parameters"] = PARAMETERS[:-1]
    assert [begin(Talk(url), AS_OF="latest").number for _ in range(2)] == [1, 1]
    assert len(posts(jenkins)) == 2


@pytest.mark.parametrize("fault", ["unheard", "lost", 502, 504])
def test_where_no_answer_came_jenkins_is_asked_and_nothing_is_started_twice(jenkins, talk, fault):
    jenkins.faults = [("POST", "build", fault)]
    if fault == "unheard":
        assert begin(talk) == Queued(1, "one")
    else:
        with pytest.raises(
            Unsure, match=r"whether model-pipeline was started is not known: run this again with .*'one'"
        ):
            begin(talk)
        assert begin(talk) == Queued(1, "one")
    assert jenkins.started() == 1


@pytest.mark.parametrize("fault", ["unheard", "lost", 502, 503])
def test_without_the_parameter_nothing_is_sent_again_and_that_is_said(jenkins, talk, fault):
    jenkins.jobs["/job/model-pipeline/"]["parameters"] = PARAMETERS[:-1]
    jenkins.faults = [("POST", "build", fault)]
    with pytest.raises(Unsure, match=r"look at Jenkins before you run this again .*no parameter REQUEST"):
        begin(talk)
    assert len(posts(jenkins)) == 1


def test_while_jenkins_starts_the_request_is_sent_again(jenkins, talk):
    jenkins.faults = [("POST", "build", 503)] * 3
    assert begin(talk) == Queued(1, "one")
    assert len(posts(jenkins)) == 4
    assert jenkins.started() == 1
    jenkins.faults = [("POST", "build", 503)] * 99
    with pytest.raises(Away, match="503"):
        begin(Talk(talk.remote.url, patience=6), "two")
    assert jenkins.started() == 1


def test_a_controller_that_is_not_there_is_waited_for_and_then_given_up():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    talk = Talk(f"http://127.0.0.1:{port}", patience=0)
    with pytest.raises(Away, match=r"does not answer .*given up after 0 s"):
        begin(talk)


def test_restarts_in_the_queue_and_in_the_log_are_lived_through(jenkins):
    """While it is away its port is closed; sessions are forgotten, and in the first restart the queue item's number."""
    jenkins.waits, jenkins.chunks = 1, [b"one\n", b"two\n", b"three\n", b"four\n"]
    running = contextlib.ExitStack()
    url = running.enter_context(serving(jenkins))
    port = int(url.rpartition(":")[2])
    talk = Talk(url, PASSWORD)
    job = client.find(talk.remote, "model-pipeline")
    queued = job.start({}, "one")

    def back() -> None:
        if any("does not answer" in line for line in talk.said) and not jenkins.restarts % 2:
            jenkins.restart()
            running.enter_context(serving(jenkins, port))

    talk.meanwhile = back
    running.close()
    jenkins.items[1]["forgotten"] = True
    jenkins.advance(jenkins.items[1])
    jenkins.advance(jenkins.items[1])
    build = job.wait(queued)
    assert jenkins.restarts == 1
    talk.said.clear()
    jenkins.restarts, lines = 0, []

    def hear(line: str) -> None:
        lines.append(line)
        if line == "two":
            talk.said.clear()
            running.close()

    build.follow(hear)
    assert lines == ["one", "two", "three", "four"]
    assert jenkins.restarts == 1
    assert (build.result(), jenkins.started()) == ("SUCCESS", 1)
    with pytest.raises(StageError, match="knows nothing of queue item 1"):
        job.wait(Queued(1, None))
    running.close()


def test_a_log_that_a_crash_cut_short_is_not_told_again(jenkins, talk):
    jenkins.chunks = [b"one\ntwo\n", b"", b"three\n", b"four\n"]
    job = client.find(talk.remote, "model-pipeline")
    build = job.wait(job.start({}, "one"))
    lines: list[str] = []

    def hear(line: str) -> None:
        lines.append(line)
        if line == "two":
            jenkins.chunks = [b"one\n", b"new\n", b"end\n", b"", b""]

    build.follow(hear)
    assert lines[:2] == ["one", "two"]
    assert lines[2:] in (["end"], ["new", "end"])
    assert build.result() == "SUCCESS"


# -- refusals --------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"AS_OFF": "latest"}, "no parameter 'AS_OFF': perhaps AS_OF"),
        ({"REQUEST": "mine"}, "no parameter 'REQUEST'"),
        ({"STRATEGY": "bayes"}, r"STRATEGY: 'bayes' is none of its choices: \(empty\), bayesian, random"),
        ({"DEPLOY": "maybe"}, "DEPLOY: 'maybe' is none of its choices: true, false"),
    ],
)
def test_what_jenkins_would_ignore_or_answer_with_500_is_refused_by_name(jenkins, talk, given, message):
    with pytest.raises(InputError, match=message):
        begin(talk, **given)
    assert posts(jenkins) == []


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "HTTP 400: it does not take this request"),
        (401, "HTTP 401: user robot or the token is wrong: look at JENKINS_USER and JENKINS_TOKEN"),
        (403, "HTTP 403: user robot may not do this: it needs Overall/Read, Job/Read and Job/Build"),
        (404, "HTTP 404: there is no such thing, or user robot may not see it"),
        (409, "HTTP 409: the job is disabled"),
        (500, "HTTP 500: it failed"),
    ],
)
def test_each_status_says_what_it_means_and_the_request_is_not_sent_again(jenkins, talk, status, message):
    jenkins.faults = [("POST", "build", status)]
    with pytest.raises(Refused, match=message):
        begin(talk)
    assert len(posts(jenkins)) == 1


def test_statuses_of_the_real_thing_lead_to_their_messages(jenkins, talk, url):
    with pytest.raises(Refused, match="HTTP 401"):
        begin(Talk(url, "bad"))
    jenkins.rights = {"read"}
    with pytest.raises(Refused, match="HTTP 403"):
        begin(talk)
    jenkins.rights = set()
    with pytest.raises(InputError, match="no job model-pipeline, or user robot may not see it"):
        begin(talk)
    jenkins.rights = {"read", "build"}
    fresh = jenkins.job("/job/fresh/")
    with pytest.raises(InputError, match="fresh has no parameters yet"):
        client.find(talk.remote, "fresh").start({"AS_OF": "latest"}, "one")
    assert client.find(talk.remote, "fresh").start({}, "one") == Queued(1, None)
    assert posts(jenkins)[-1] == "/job/fresh/build"
    fresh["buildable"] = False
    with pytest.raises(InputError, match="fresh is disabled"):
        client.find(talk.remote, "fresh")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_redirect_to_another_host_gets_neither_user_nor_token(jenkins, talk, method):
    said = {"GET": "redirects to {}, and user and token are not sent there", "POST": "is no answer of Jenkins"}[method]
    other = Controller()
    other.job("/job/model-pipeline/", PARAMETERS)
    with serving(other) as elsewhere:
        jenkins.faults = [(method, "model-pipeline", f"{elsewhere}/job/model-pipeline/")]
        with pytest.raises((InputError, StageError), match=said.format(elsewhere)):
            begin(talk)
    assert other.asked == []


def test_redirects_within_the_controller_are_followed_and_the_login_is_a_refusal(jenkins, talk, url):
    jenkins.faults = [("GET", "model-pipeline", f"{url}/job/model-pipeline/api/json?tree=property")]
    assert begin(talk) == Queued(1, "one")
    for login in ("/login?from=%2F", "/securityRealm/commenceLogin?from=%2F"):
        for method in ("GET", "POST"):
            jenkins.faults = [(method, "model-pipeline", f"{url}{login}")]
            with pytest.raises(Refused, match="HTTP 401"):
                begin(talk, "two")
    jenkins.faults = [("GET", "model-pipeline", f"{url}/job/model-pipeline/api/json")] * 9
    with pytest.raises(Refused, match="more than 5 redirects"):
        begin(talk, "two")
    assert jenkins.started() == 1


@pytest.mark.parametrize("answer", [b"<html>Sign in</html>", b"[]", b"\xff\xfe"])
def test_what_is_no_jenkins_is_told(jenkins, talk, answer):
    jenkins.faults = [("GET", "model-pipeline", answer)]
    with pytest.raises(StageError, match="is it a Jenkins"):
        begin(talk)
    jenkins.faults = [("POST", "build", answer)]
    with pytest.raises(StageError, match="no answer of Jenkins"):
        begin(talk)


def test_a_build_is_stopped_once_and_an_item_is_taken_out_of_the_queue(jenkins, talk):
    job = client.find(talk.remote, "model-pipeline")
    assert job.cancel(job.start({}, "one")) is None
    assert jenkins.items[1]["cancelled"]
    with pytest.raises(StageError, match="queue item 1 was cancelled before it began"):
        job.wait(Queued(1, "one"))
    queued = job.start({}, "two")
    build = job.wait(queued)
    assert job.cancel(queued) == build, "it had begun meanwhile"
    assert (jenkins.stops, build.result()) == (1, "ABORTED")
    jenkins.rights = {"read", "build"}
    with pytest.raises(Refused, match="to stop Job/Cancel"):
        job.cancel(job.wait(job.start({}, "three")))


@pytest.mark.parametrize(
    "url",
    ["", "ci.example.com", "ftp://ci", "http://", "http://ci:0", "http://ci:x", "http://[::1", "http://ci/ x",
     "http://ci..example.com", "http://ci/\n", "http://robot:secret@ci", "http://ci/?a=b", "http://ci/#a"],
)  # fmt: skip
def test_what_is_no_address_is_refused_without_a_secret_in_the_message(url):
    with pytest.raises(InputError, match=r"jenkins\.url") as caught:
        Remote(url, "robot", TOKEN)
    assert "secret" not in str(caught.value)


@settings(max_examples=25, deadline=None)
@given(value=st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=200))
def test_any_text_arrives_as_it_is(forever, value):
    jenkins, talk = forever
    number = len(jenkins.items) + 1
    assert begin(talk, f"{number}-{value}", SETTINGS=value) == Queued(number, f"{number}-{value}")
    assert jenkins.items[number]["values"]["SETTINGS"] == value
    assert begin(talk, f"{number}-{value}").number == number


def test_no_message_and_no_line_holds_a_secret(jenkins, talk, url):
    texts = []
    for status in (400, 401, 403, 404, 409, 500, 502):
        jenkins.faults = [("POST", "build", status)]
        with pytest.raises(StageError) as caught:
            begin(Talk(url, TOKEN, patience=2), f"r{status}")
        texts.append(str(caught.value))
    assert not [text for text in [*texts, *talk.said] if TOKEN in text or PASSWORD in text]


def test_a_log_cannot_steer_the_terminal(jenkins, talk):
    jenkins.chunks = [b"\x1b]0;title\x07\x1b[2Jgone\r\n", b"x" * 5000 + b"\n"]
    job = client.find(talk.remote, "model-pipeline")
    lines: list[str] = []
    job.wait(job.start({}, "one")).follow(lines.append)
    assert lines[0] == r"\x1b]0;title\x07\x1b[2Jgone"
    assert len(lines[1]) < 2100
