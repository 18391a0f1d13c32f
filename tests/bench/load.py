"""Runs the load client and reads what it saw. All times are the client's, in seconds."""
import dataclasses
import json
import os
import subprocess
import tempfile


@dataclasses.dataclass
class Answer:
    id: str
    start: float  # when it should have been sent
    sent: float
    done: float
    events: list  # times of the events with output
    counts: list  # tokens of each
    status: int
    finish_reason: str | None
    whole: bool
    cut: bool
    error: object
    timings: dict  # the server's own, asked for with tandem_timings
    usage: dict
    wanted: int  # tokens

    @property
    def ok(self):
        """Also: as many tokens came as were asked for, where the server says how many."""
        whole = self.whole and bool(self.events) and self.usage.get("completion_tokens", self.wanted) == self.wanted
        return self.status == 200 and not self.error and (self.cut or whole)

    @property
    def ttft(self):
        """Since it should have been sent: a client that is late must not make a server look good."""
        return self.events[0] - self.start

    def gaps(self, since=0.0, until=float("inf")):
        """Between successive events of which the later one came within the span."""
        return [b - a for a, b in zip(self.events, self.events[1:]) if since <= b and a <= until]

    @property
    def tokens(self):
        return sum(self.counts)


def body(prompt, max_tokens, **fields):
    """A greedy stream of exactly max_tokens tokens, in words that every server here understands."""
    return {"prompt": prompt, "max_tokens": max_tokens, "temperature": 0, "stream": True, "ignore_eos": True,
            "return_token_ids": True, "stream_options": {"include_usage": True}, **fields}


def request(id, server, prompt, max_tokens, fields=None, **when):
    return {"id": id, "target": server.target, "path": "/v1/completions",
            "body": body(prompt, max_tokens, **(fields or {})), **when}


def send(context, requests, limit_s=300, must_succeed=True):
    """{id: Answer} of the requests, see request_plan.h. Raises when one failed, unless told not to."""
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as plan:
        plan.writelines(json.dumps(r) + "\n" for r in requests)
        plan.flush()
        done = subprocess.run([os.path.join(context.build, "tests", "bench", "load_client"), plan.name, str(limit_s)],
                              capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError("load client: " + done.stderr)
    wanted = {r["id"]: r["body"]["max_tokens"] for r in requests}
    answers = {}
    for line in done.stdout.splitlines():
        seen = json.loads(line)
        answer = Answer(seen["id"], seen["start"], seen["sent"], seen["done"], seen["events"], seen["counts"],
                        seen["status"], seen["finish_reason"], seen["whole"], seen["cut"], seen.get("error"),
                        seen.get("timings") or {}, seen.get("usage") or {}, wanted[seen["id"]])
        if must_succeed and not answer.ok:
            raise RuntimeError(f"a request failed: {line[:600]}")
        answers[answer.id] = answer
    return answers


def rate_together(answers):
    """Tokens per second of streams while all of them run: from the last one's first event to the first one's last."""
    since = max(a.events[0] for a in answers)
    until = min(a.events[-1] for a in answers)
    if until <= since:
        return 0.0
    count = sum(n for a in answers for t, n in zip(a.events, a.counts) if since < t <= until)
    return count / (until - since)
