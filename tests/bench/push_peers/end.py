"""One process of a push by another engine: "end.py ENGINE target|initiator", of ENGINE_engine.py. Its input and output are lines
of JSON: roles.py says which. An answer is [value, null], or [null, why there is none]. Ends with its input, and after LIFETIME_S
in any case, whatever it waits for."""
import importlib
import json
import os
import signal
import sys

LIFETIME_S = 45


def main():
    signal.alarm(LIFETIME_S)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the engines print must not be taken for an answer

    def answer(value, reason=None):
        print(json.dumps([value, reason]), file=answers, flush=True)

    try:
        engine = importlib.import_module(sys.argv[1] + "_engine")
        role = getattr(importlib.import_module("roles"), sys.argv[2])
        role(engine, sys.stdin, answer)
    except Exception as error:  # whatever an engine raises is a reason to tell
        answer(None, f"{type(error).__name__}: {error}".splitlines()[0])


if __name__ == "__main__":
    main()
