"""Which cluster a command talks to: never another one than the kubeconfig means."""

from urllib.parse import urlsplit

import pytest
import yaml
from kubernetes.config import incluster_config

from ci.errors import InputError
from ci.kube.context import Context, chosen


def kubeconfig(current="x", **cluster):
    """Return a kubeconfig with one context, `x`."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": current,
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1", **cluster}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
    }


@pytest.fixture(autouse=True)
def pod(tmp_path, monkeypatch):
    """Run in a pod with a service account, and with a home of its own."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    for name in ("TOKEN", "CERT"):
        (tmp_path / name).write_text("secret")
        monkeypatch.setattr(incluster_config, f"SERVICE_{name}_FILENAME", str(tmp_path / name))


def write(path, content):
    path.parent.mkdir(exist_ok=True)
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return str(path)


def host(name=None):
    return Context(name).client().configuration.host


def test_without_a_kubeconfig_a_pod_talks_to_its_own_cluster(monkeypatch):
    assert host() == "https://10.96.0.1:443"
    monkeypatch.setenv("KUBECONFIG", "")
    assert host() == "https://10.96.0.1:443"
    assert Context().name == "-"


def test_without_a_kubeconfig_a_named_context_is_not_the_pods_cluster():
    with pytest.raises(InputError, match="no cluster production"):
        host("production")


WRONG = {
    "a current context that does not exist": (kubeconfig("typo"), "no cluster typo.*name typo"),
    "a certificate that is gone": (kubeconfig(**{"certificate-authority": "gone.crt"}), "does not exist"),
    "a certificate that is no base64": (kubeconfig(**{"certificate-authority-data": "a"}), "no kubeconfig"),
    "no current context": (kubeconfig(""), "names no current-context"),
    "no clusters": ({"current-context": "x"}, "no cluster x"),
    "an empty file": ("", "expected a mapping"),
    "a list": ("[]", "expected a mapping"),
    "not YAML": ("{", "is no kubeconfig"),
    "no address": (kubeconfig(server=None), "Expected key server"),
    "a SOCKS proxy": (kubeconfig(**{"proxy-url": "socks5://127.0.0.1:1080"}), "only http://HOST:PORT"),
    "a proxy without a scheme": (kubeconfig(**{"proxy-url": "proxy:3128"}), "only http://HOST:PORT"),
    "a proxy whose port is no number": (kubeconfig(**{"proxy-url": "http://proxy:port"}), "only http://HOST:PORT"),
    "a proxy without a host": (kubeconfig(**{"proxy-url": "http://"}), "only http://HOST:PORT"),
    "an address that is a number": (kubeconfig(server=7), "context x, its cluster or its user has a value of a kind"),
}


@pytest.mark.parametrize("where", ["home", "KUBECONFIG"])
@pytest.mark.parametrize(("content", "problem"), WRONG.values(), ids=WRONG)
def test_a_kubeconfig_that_is_wrong_never_leads_to_the_pods_cluster(tmp_path, monkeypatch, where, content, problem):
    path = write(tmp_path / ".kube" / "config", content)
    if where == "KUBECONFIG":
        monkeypatch.setenv("KUBECONFIG", path)
    with pytest.raises(InputError, match=rf"(?s){problem}"):
        host()


def test_a_variable_that_names_no_file_never_leads_to_the_pods_cluster(tmp_path, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/none:{tmp_path}/gone")
    with pytest.raises(InputError, match=r"KUBECONFIG: .*none.* does not exist"):
        host()


def test_outside_a_pod_and_without_a_kubeconfig_there_is_no_cluster(monkeypatch):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST")
    with pytest.raises(InputError, match=r"no cluster: there is no kubeconfig \(~/.kube/config\)"):
        host()


def test_of_several_files_the_first_names_the_current_context_as_for_kubectl(tmp_path, monkeypatch):
    second = kubeconfig("y", server="https://127.0.0.1:2")
    for each in ("clusters", "contexts"):
        second[each][0]["name"] = "y"
    second["contexts"][0]["context"]["cluster"] = "y"
    first = write(tmp_path / "first", kubeconfig("x"))
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/none:{first}:{write(tmp_path / 'second', second)}")
    assert host() == "https://127.0.0.1:1"
    assert Context().name == "x"
    assert host("y") == "https://127.0.0.1:2"


def test_what_is_said_of_a_wrong_kubeconfig_holds_no_secret(tmp_path):
    wrong = kubeconfig()
    wrong["users"] = [{"name": "u", "token": "geheim"}]  # a level too high
    write(tmp_path / ".kube" / "config", wrong)
    with pytest.raises(InputError) as said:
        host()
    assert "geheim" not in str(said.value)


@pytest.mark.parametrize(
    ("server", "outside"),
    [("https://127.0.0.1:6443", False), ("https://[::1]:6443", False), ("https://localhost:6443", False),
     ("https://api.example.com", True)],
)  # fmt: skip
def test_only_a_cluster_elsewhere_is_asked_through_the_environments_proxy(tmp_path, monkeypatch, server, outside):
    from kubernetes.stream.ws_client import websocket_proxycare
    from websocket._url import get_proxy_info

    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "example.org")
    write(tmp_path / ".kube" / "config", kubeconfig(server=server))
    client = Context().client()
    assert (getattr(client.rest_client.pool_manager, "proxy", None) is not None) is outside
    options = websocket_proxycare({}, client.configuration, None, None)  # what a port-forward asks
    proxy, rest = [options[f"http_proxy_{part}"] for part in ("host", "port")], (None, options["http_no_proxy"])
    found = get_proxy_info(urlsplit(server).hostname, True, *proxy, *rest)
    assert (found[0] is not None) is outside


@pytest.mark.parametrize(
    ("server", "around"), [("https://127.0.0.1:6443", ""), ("https://api.example.com", "example.com")]
)
def test_a_proxy_of_the_environment_that_cannot_be_used_does_not_matter_where_none_is(
    tmp_path, monkeypatch, server, around
):
    from kubernetes.stream.ws_client import websocket_proxycare
    from websocket._url import get_proxy_info

    monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:1080")
    monkeypatch.setenv("NO_PROXY", around)
    write(tmp_path / ".kube" / "config", kubeconfig(server=server))
    client = Context().client()
    assert getattr(client.rest_client.pool_manager, "proxy", None) is None
    options = websocket_proxycare({}, client.configuration, None, None)
    proxy = [options.get(f"http_proxy_{part}") for part in ("host", "port")]
    assert get_proxy_info(urlsplit(server).hostname, True, *proxy, None, options["http_no_proxy"])[0] is None
    monkeypatch.setenv("NO_PROXY", "elsewhere.example")
    write(tmp_path / ".kube" / "config", kubeconfig(server="https://api.example.com"))
    with pytest.raises(InputError, match="only http://HOST:PORT"):
        Context().client()


def test_a_password_in_a_proxy_is_not_told(tmp_path):
    write(tmp_path / ".kube" / "config", kubeconfig(**{"proxy-url": "socks5://me:geheim@proxy:1080"}))
    with pytest.raises(InputError) as said:
        host()
    assert "geheim" not in str(said.value)


@pytest.mark.parametrize(
    ("option", "setting", "found"),
    [
        (None, None, None),
        (None, "-", Context()),
        (None, "production", Context("production")),
        ("-", "production", Context()),
        ("staging", "production", Context("staging")),
        ("staging", None, Context("staging")),
    ],
)
def test_an_option_comes_before_the_setting_and_a_dash_is_the_current_context(option, setting, found):
    assert chosen(option, setting) == found


@pytest.mark.parametrize(("option", "setting", "named"), [("", "x", "--context"), (None, "", "serving.context")])
def test_an_empty_name_is_no_cluster(option, setting, named):
    with pytest.raises(InputError, match=f"^{named}: it is empty: name a context of the kubeconfig"):
        chosen(option, setting)


def test_a_named_context_is_called_as_it_is():
    assert Context("production").name == "production"
