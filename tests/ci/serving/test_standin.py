"""The stand-in as a process: where it listens, and who may give it orders."""

import os
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ci.serving import standin
from ci.serving.control import Remote
from tests.pods import REPOSITORY


@contextmanager
def started(folder: Path, *options: str) -> Iterator[int]:
    """Run a server without a model, with its control socket `control` in `folder`; gives its port."""
    control = Path(os.path.relpath(folder / "control"))  # a Unix socket's path is short
    command = [sys.executable, "-m", "ci.serving.standin", "--model_name=m", f"--model_base_path={folder / 'models'}"]
    command += ["--rest_api_port=0", f"--control={control}", *options]
    process = subprocess.Popen(command, cwd=Path.cwd(), env={**os.environ, "PYTHONPATH": str(REPOSITORY)})
    try:
        for _ in range(600):
            if control.exists():
                break
            assert process.poll() is None
            time.sleep(0.05)
        yield Remote(control).ask("status")["private_port"]
    finally:
        process.terminate()
        assert process.wait(timeout=30) == 0


def answers(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=5) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return connection.recv(100).startswith(b"HTTP/1.1 404 ")
    except OSError:
        return False


def listens(port: int) -> set[str]:
    """The addresses on which this machine listens at a port, as the kernel writes them."""
    lines = [
        line.split() for name in ("tcp", "tcp6") if (path := Path(f"/proc/net/{name}")).exists() for line in path.open()
    ]
    return {line[1].partition(":")[0] for line in lines if line[1].endswith(f":{port:04X}") and line[3] == "0A"}


def test_it_listens_on_the_loopback_address_unless_told_and_only_its_user_may_give_it_orders(
    tmp_path, monkeypatch, capfd
):
    monkeypatch.chdir(tmp_path)
    with started(tmp_path) as port:
        assert listens(port) == {"0100007F"}
        assert answers("127.0.0.1", port)
        assert stat.S_IMODE((tmp_path / "control").stat().st_mode) == 0o600
        assert Remote(Path("control")).pid() == Remote(Path("control")).ask("status")["pid"]
    assert not (tmp_path / "control").exists()
    assert set(capfd.readouterr().err.splitlines()) == {f"{tmp_path}/models: no version yet"}


def test_told_to_listen_everywhere_it_answers_on_both_families_of_addresses(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with started(tmp_path, "--host=::", "--batch_target=0.02") as port:
        assert answers("127.0.0.1", port)
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError:
            return  # this machine has no address of that family
        assert answers("::1", port)


def test_without_ipv6_it_listens_on_ipv4(monkeypatch):
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    with standin.bound("::", 0) as listener:
        assert (listener.family, listener.getsockname()[0]) == (socket.AF_INET, socket.inet_ntoa(bytes(4)))


def test_the_image_of_the_stand_in_has_every_file_that_it_imports(tmp_path):
    lines = (REPOSITORY / "ci/images/stand-in/Dockerfile").read_text().splitlines()
    for words in (line.split()[1:] for line in lines if line.startswith("COPY ci/")):
        for source in words[:-1]:
            kind = shutil.copytree if (REPOSITORY / source).is_dir() else shutil.copy
            (tmp_path / source).parent.mkdir(parents=True, exist_ok=True)
            kind(REPOSITORY / source, tmp_path / source)
    modules = [path.stem for path in (tmp_path / "ci/serving").glob("*.py") if path.stem not in ("__init__", "offline")]
    imports = f"import ci.serving, {', '.join(f'ci.serving.{name}' for name in modules)}"
    subprocess.run([sys.executable, "-c", imports], cwd=tmp_path, check=True, timeout=60)
