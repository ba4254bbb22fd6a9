"""A light server for drills: TensorFlow Serving's REST contract as far as a rollout uses it, and faults on demand.

It takes the stand-in's command line and reads what it is to do wrong from `behaviour.json` beside its model. Needs the
standard library only, so a pod of it is up in a second.
"""

import argparse
import json
import math
import os
import random
import socket
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

arguments = argparse.ArgumentParser()
for name in ("host", "rest_api_port", "rest_api_num_threads", "model_name", "model_base_path", "drain_timeout"):
    arguments.add_argument(f"--{name}")
options = arguments.parse_args()
[folder] = Path(options.model_base_path).iterdir()
does = json.loads((folder / "behaviour.json").read_text())
VERSION, MODEL = folder.name, options.model_name


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def answer(self, status, value):
        text = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self):
        if self.path.endswith("/metadata"):
            if does.get("loads_for_ever"):
                return self.answer(404, {"error": "loading"})
            dtype = does.get("dtype", "DT_FLOAT")
            signature = {"inputs": {"x": {"dtype": dtype}}, "outputs": {"y": {"dtype": "DT_FLOAT"}}}
            spec = {"name": MODEL, "version": VERSION}
            served = {"signature_def": {"signature_def": {"serving_default": signature}}}
            return self.answer(200, {"model_spec": spec, "metadata": served})
        state = "LOADING" if does.get("loads_for_ever") else "AVAILABLE"
        status = {"version": VERSION, "state": state, "status": {"error_code": "OK", "error_message": ""}}
        return self.answer(200, {"model_version_status": [status]})

    def do_POST(self):
        rows = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["instances"]
        time.sleep(does.get("seconds", 0.0))
        if does.get("bytes_per_request"):
            hoard.append(os.urandom(does["bytes_per_request"]))
        if random.random() < does.get("errors", 0.0):
            return self.answer(500, {"error": "told to fail"})
        if random.random() < does.get("refuses", 0.0):
            return self.answer(400, {"error": "told to refuse"})
        found = [math.nan if does.get("nan") else row["x"] + does.get("bias", 0.0) for row in rows]
        return self.answer(200, {"predictions": found})

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 1024
    both = options.host == "::" and socket.has_dualstack_ipv6()
    address_family = socket.AF_INET6 if both else socket.AF_INET

    def server_bind(self):
        if self.both:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


hoard = []
if does.get("crashes"):
    sys.exit("told to crash at the start")
Server(
    ("" if options.host == "::" and not Server.both else options.host, int(options.rest_api_port)), Handler
).serve_forever()
