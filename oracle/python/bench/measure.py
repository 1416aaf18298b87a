"""One run of each kind: the engine by itself, the server from its start."""

import http.client
import json
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


def _generation(answer):
    """Rates of a run that reports its own times."""
    decoded = answer["generated_tokens"] - 1
    return {"prompt_tokens": answer["prompt_tokens"], "generated_tokens": answer["generated_tokens"],
            "first_token_s": answer["prefill_seconds"],
            "prefill_per_s": answer["prompt_tokens"] / answer["prefill_seconds"],
            "decode_per_s": decoded / answer["decode_seconds"], "text": answer["text"],
            "kv_bytes": answer.get("kv_bytes")}


def engine(command, environment=None, prompt=""):
    """Runs a process that reads a prompt and prints its times; adds its peak memory."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                               env={**os.environ, **(environment or {})})
    # Read before anything is printed, so neither side can wait for the other.
    process.stdin.write(prompt.encode())
    process.stdin.close()
    out = process.stdout.read()
    # `wait` would not tell what the process used.
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}")
    scale = 1 if sys.platform == "darwin" else 1024
    return {**_generation(json.loads(out)), "peak_bytes": usage.ru_maxrss * scale}


def our_engine(binary, model, subject, options=()):
    return engine([str(binary), "generate", "--model", str(model), "--raw", "--json", "--quiet", "--prompt", "-",
                   "--max-tokens", str(subject.tokens), *options], prompt=subject.prompt)


def peer_engine(model, subject):
    return engine([sys.executable, str(HERE / "peer_generate.py"), str(model), subject.prompt, str(subject.tokens)],
                  OFFLINE)


def peer_context(model, subject, kv):
    return engine([sys.executable, str(HERE / "peer_context.py"), str(model), str(subject.tokens), json.dumps(kv)],
                  OFFLINE, subject.prompt)


def _body(prompt, subject, **more):
    return json.dumps({"prompt": prompt, "max_tokens": subject.tokens, "temperature": 0, **more})


def _open(server, body):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=600)
    connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
    return connection, connection.getresponse()


def _stream(server, prompt, subject):
    """Seconds to the first text and to the end of a streamed completion."""
    started = time.perf_counter()
    connection, reply = _open(server, _body(prompt, subject, stream=True))
    first = None
    for line in reply:
        if first is None and line.startswith(b"data: {") and json.loads(line[6:])["choices"][0]["text"]:
            first = time.perf_counter() - started
    connection.close()
    return first, time.perf_counter() - started


def _whole(server, prompt, subject):
    """Seconds that an unstreamed completion takes, and its tokens."""
    started = time.perf_counter()
    connection, reply = _open(server, _body(prompt, subject))
    answer = json.loads(reply.read())
    seconds = time.perf_counter() - started
    connection.close()
    return seconds, answer["usage"]["completion_tokens"]


def _engine_seconds(server):
    """What the engine says that each request took, from our server's JSON log."""
    found = []
    for line in server.log.read_text(errors="replace").splitlines():
        entry = json.loads(line) if line.startswith("{") else {}
        if entry.get("message") == "generated":
            found.append(sum(entry[k] for k in ("queue_ms", "prefill_ms", "decode_ms")) / 1e3)
    return found


def server(start, subject):
    """Starts a server, asks three times with prompts that share no beginning, stops it."""
    running = start()
    try:
        ready = running.wait(limit=600, pause=0.002)
        _stream(running, subject.prompt, subject)
        answered = time.monotonic() - running.started
        first, streamed = _stream(running, "1. " + subject.prompt, subject)
        whole, tokens = _whole(running, "2. " + subject.prompt, subject)
        found = {"ready_s": ready, "first_answer_s": answered, "first_token_s": first, "stream_s": streamed,
                 "whole_s": whole, "tokens_per_s": tokens / whole, "peak_bytes": running.peak_memory()}
        if running.name == "verbatim":
            engine_stream, engine_whole = _engine_seconds(running)[1:3]
            found["overhead_stream"] = streamed / engine_stream - 1
            found["overhead_whole"] = whole / engine_whole - 1
        return found
    finally:
        running.stop()
