"""Doubles of `docker`, of TensorFlow Serving that it runs, and of `wrk`, as programs for the PATH.

    doubles.py docker ARGUMENTS         # runs containers as processes; what it remembers lies beside it
    doubles.py serve FOLDER CONFIG      # answers as TensorFlow Serving does, with the numbers of a batching.config
    doubles.py wrk ARGUMENTS            # asks once, and prints what it would have measured as wrk does

How long the server takes follows from its numbers, so that the best of them is known.
"""

import json
import os
import re
import signal
import subprocess
import sys
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

RATES = {64: 900, 256: 1500, 2048: 1500}
"""Requests a second by rows of a batch, where nothing waits."""
HERE = Path(__file__).resolve()
METRICS = "/monitoring/prometheus/metrics"


def main() -> int:
    """Run one of the programs."""
    name, *arguments = sys.argv[1:]
    return {"docker": docker, "serve": serve, "wrk": wrk}[name](arguments)


def docker(arguments: list[str]) -> int:
    """Do what a few of Docker's commands do."""
    folder = Path(os.environ["DOUBLE_FOLDER"])
    verb = arguments[0]
    if verb == "run" and "--version" in arguments:
        print(os.environ["DOUBLE_VERSION"])
    elif verb == "run":
        name = arguments[arguments.index("--name") + 1]
        [config] = [each.split(":")[0] for each in arguments if each.endswith(":/etc/batching.config:ro")]
        with (folder / f"{name}.log").open("w") as log:
            command = [sys.executable, "-IS", str(HERE), "serve", str(folder / name), config]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert process.stdout
        (folder / name).write_text(f"{process.pid} {process.stdout.readline()}")
        (folder / "configs").open("a").write(Path(config).read_text() + "\n")
    elif verb == "port":
        print(f"127.0.0.1:{(folder / arguments[1]).read_text().split()[1]}")
    elif verb == "logs":
        print((folder / f"{arguments[1]}.log").read_text())
    elif verb == "rm":
        os.kill(int((folder / arguments[-1]).read_text().split()[0]), signal.SIGKILL)
    return 0


def serve(arguments: list[str]) -> int:
    """Serve a model by TensorFlow Serving's REST API, with its metrics."""
    text = Path(arguments[1]).read_text()
    numbers = {name: int(value) for name, value in re.findall(r"(\w+) \{ value: (\d+) \}", text)}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if not self.path.endswith(":predict") or "instances" not in asked:
                self.answer(400, json.dumps({"error": "JSON Value: no instances or inputs"}))
                return
            answers = ",".join(" 0.5" for _ in asked["instances"])
            self.answer(200, f'{{\n    "predictions": [{answers}\n    ]\n}}')

        def do_GET(self) -> None:
            if self.path == METRICS:
                lines = [f"double:batching:{name} {value}" for name, value in numbers.items()]
                self.answer(200, "\n".join([":tensorflow:serving:request_count{} 1", *lines, ""]))
            else:
                ok = {"error_code": "OK", "error_message": ""}
                status = {"model_version_status": [{"version": "1", "state": "AVAILABLE", "status": ok}]}
                self.answer(200, json.dumps(status))

        def answer(self, code: int, body: str) -> None:
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()
    return 0


def wrk(arguments: list[str]) -> int:
    """Ask once, and print what follows from the server's numbers."""
    [clients] = [int(each[2:]) for each in arguments if each.startswith("-c")]
    url, script = arguments[-1], Path(arguments[arguments.index("-s") + 1]).read_text()
    body = script.partition("[==[")[2].partition("]==]")[0]
    host, _, path = url.removeprefix("http://").partition("/")
    connection = HTTPConnection(host)

    def ask(method: str, path: str, body: str | None = None) -> str:
        connection.request(method, path, body)
        answer = connection.getresponse()
        assert answer.status == 200
        return answer.read().decode()

    assert len(json.loads(ask("POST", f"/{path}", body))["predictions"]) == 1
    text = ask("GET", METRICS)
    told = dict(re.findall(r"double:batching:(\w+) (\d+)", text))
    rows, wait = int(told["max_batch_size"]), int(told["batch_timeout_micros"])
    rate = RATES[rows] * (1.2 if wait else 1.0)  # with company more is answered
    median, p99 = 1 + wait / 1000, 150 if rows > 1000 else 50
    if clients == 1:
        rate = 1000 / median
    print(f"  Latency Distribution\n     50%  {median:.2f}ms\n     99%  {p99:.2f}ms\nRequests/sec:  {rate:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
