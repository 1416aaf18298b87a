"""Starts and stops our server and mlx-lm's."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A server process; its output goes to `log`."""

    def __init__(self, name, command, port, log, environment=None, cwd=None):
        self.name, self.port, self.log = name, port, Path(log)
        self.url = f"http://127.0.0.1:{port}"
        self.started = time.monotonic()
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, cwd=cwd,
                                            env={**os.environ, **(environment or {})})

    def ready(self):
        with contextlib.suppress(OSError, urllib.error.URLError):
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as reply:
                return reply.status == 200
        return False

    def wait(self, limit=120.0, pause=0.02):
        """Seconds from the process's start until `/health` answers 200."""
        while not self.ready():
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended with {self.process.returncode}:\n{self.tail()}")
            if time.monotonic() - self.started > limit:
                raise RuntimeError(f"{self.name} was not ready after {limit:.0f} s:\n{self.tail()}")
            time.sleep(pause)
        return time.monotonic() - self.started

    def peak_memory(self):
        """`VmHWM` in bytes, where the system tells."""
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        return None

    def tail(self):
        return self.log.read_text(errors="replace")[-3000:]

    def stop(self, limit=30.0):
        """Asks the process to end; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(limit)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return self.process.returncode


def start_ours(binary, model, folder, *extra):
    port = free_port()
    command = [str(binary), "serve", "--model", str(model), "--port", str(port), *extra]
    return Server("verbatim", command, port, Path(folder) / f"verbatim-{port}.log")


def start_peer(model, folder, *extra):
    """mlx-lm's server. Its model list needs a cache folder that exists."""
    port = free_port()
    home = Path(folder) / "hf-home"
    (home / "hub").mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "mlx_lm", "server", "--model", str(model), "--port", str(port),
               "--log-level", "WARNING", *extra]
    environment = {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1",
                   "TOKENIZERS_PARALLELISM": "false"}
    return Server("mlx_lm.server", command, port, Path(folder) / f"mlx-lm-{port}.log", environment)


@contextlib.contextmanager
def scratch():
    with tempfile.TemporaryDirectory(prefix="verbatim-") as folder:
        yield Path(folder)
