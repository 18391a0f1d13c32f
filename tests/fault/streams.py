"""The oracle: a streamed request, all that its client sees of it, and whether that is what an undisturbed one shows."""
import http.client
import itertools
import json
import os
import time

from prompts import ENGLISH

COUNTER = itertools.count()


def body(prompt=None, max_tokens=24, salted=True, **fields):
    """A request whose stream tells everything. Salted: no worker has its prompt in a cache."""
    prompt = "Chapter one. " + ENGLISH * 2 if prompt is None else prompt
    request = {"prompt": prompt, "max_tokens": max_tokens, "temperature": 0, "logprobs": 3, "return_token_ids": True,
               "ignore_eos": True, "stream_options": {"include_usage": True}, **fields}
    if salted:
        request["cache_salt"] = "%d-%d" % (os.getpid(), next(COUNTER))
    return {name: value for name, value in request.items() if value is not None}


class Stream:
    """Everything one client received, and when."""

    def __init__(self):
        self.trace_id = "fault-%d-%d" % (os.getpid(), next(COUNTER))
        self.pieces = []  # (ids, text) of each event
        self.ids = []
        self.text = ""
        self.logprobs = []
        self.finish = None
        self.usage = None
        self.error = None
        self.times = []  # of each event with tokens
        self.started = None

    def add(self, event):
        if "error" in event:
            self.error = event["error"]
        if event.get("usage"):
            self.usage = {k: event["usage"][k] for k in ("prompt_tokens", "completion_tokens", "total_tokens")}
        for choice in event.get("choices") or []:
            ids = choice.get("token_ids") or []
            self.pieces.append((ids, choice.get("text") or ""))
            self.ids += ids
            self.text += choice.get("text") or ""
            if ids:
                self.times.append(time.monotonic())
            if choice.get("logprobs"):
                self.logprobs.append(choice["logprobs"])
            self.finish = choice.get("finish_reason") or self.finish

    def first_token_s(self):
        return self.times[0] - self.started

    def longest_gap_s(self):
        times = [self.started, *self.times]
        return max(after - before for before, after in zip(times, times[1:]))

    def flat_logprobs(self):
        """Per token, however many of them came in one event."""
        found = []
        for part in self.logprobs:
            found += zip(part["tokens"], part["token_logprobs"],
                         [sorted((best or {}).items()) for best in part["top_logprobs"]])
        return found

    def expect_same_as(self, golden, what=""):
        assert self.error is None, "%s: %s" % (what, self.error)
        assert self.ids == golden.ids, what
        assert self.text == golden.text, what
        assert self.finish == golden.finish, what
        assert self.usage == golden.usage, what
        assert self.flat_logprobs() == golden.flat_logprobs(), what


def stream(cluster, request, on_tokens=None, headers=None, limit_s=120, stream_object=None):
    """Reads a streamed completion to its end. on_tokens(n) is called whenever n tokens in all have arrived."""
    found = stream_object or Stream()
    connection = http.client.HTTPConnection("127.0.0.1", cluster.port, timeout=limit_s)
    found.started = time.monotonic()
    try:
        connection.request("POST", "/v1/completions", json.dumps({**request, "stream": True}).encode(),
                           {"Content-Type": "application/json", "X-Request-Id": found.trace_id, **(headers or {})})
        response = connection.getresponse()
        found.status = response.status
        if response.status != 200:
            found.error = json.loads(response.read())["error"]
            return found
        while True:
            line = response.readline()
            assert line, "the stream ended without [DONE]"
            if not line.startswith(b"data: "):
                continue
            if line.strip() == b"data: [DONE]":
                return found
            before = len(found.ids)
            found.add(json.loads(line[6:]))
            if on_tokens and len(found.ids) > before:
                on_tokens(len(found.ids))
    finally:
        connection.close()


def booked_by(cluster, trace_id, role="decode"):
    """The living worker that last took the request on."""
    event = "booked" if role == "decode" else "offered"
    holders = []
    for name, worker in cluster.workers.items():
        if not name.startswith(role) or worker.popen.poll() is not None:
            continue
        lines = [line for line in worker.log().splitlines() if "request=" + trace_id in line and event in line]
        if lines:
            holders.append((lines[-1], worker))  # a line begins with its time
    return max(holders, key=lambda h: h[0])[1] if holders else None
