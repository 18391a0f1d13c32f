"""Sends one streamed chat to a running cluster, prints the answer as it arrives and what the request's time went to.

usage: check.py URL
Ends with 0 when a whole answer came.
"""
import json
import sys
import time
import urllib.request

PROMPT = ("Tandem serves a language model with two kinds of workers. Prefill workers read the prompt and push what they "
          "computed, layer by layer, to decode workers, which write the answer token by token. "
          "In two sentences: what is the capital of France, and what is it known for?")


def stream(url):
    body = {"messages": [{"role": "user", "content": PROMPT}], "stream": True, "max_tokens": 64,
            "temperature": 0, "stream_options": {"include_usage": True}, "tandem_timings": True}
    request = urllib.request.Request(url + "/v1/chat/completions", json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # the cluster is on this machine
    with direct.open(request, timeout=120) as response:
        for line in response:
            line = line.decode().strip()
            if line == "data: [DONE]":
                return
            if line.startswith("data: "):
                yield json.loads(line[len("data: "):])
    raise RuntimeError("the stream ended without [DONE]")


def main(url):
    started = time.monotonic()
    first, text, usage, timings = None, "", None, None
    for event in stream(url):
        if "error" in event:
            raise RuntimeError(event["error"]["message"])
        for choice in event["choices"]:
            piece = choice["delta"].get("content") or ""
            if piece and first is None:
                first = time.monotonic() - started
            text += piece
            print(piece, end="", flush=True)
        usage = event.get("usage") or usage
        timings = event.get("timings") or timings
    print("\n")
    if not text.strip() or usage is None:
        raise RuntimeError("no answer, or no usage")
    print("prompt %d tokens (%d cached), answer %d tokens; first text after %.0f ms, all after %.0f ms" % (
        usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"], usage["completion_tokens"],
        first * 1e3, (time.monotonic() - started) * 1e3))
    for name, value in (timings or {}).items():
        print("  %-22s %s" % (name, "%.2f" % value if isinstance(value, float) else value))


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        sys.exit("check: %s" % error)
