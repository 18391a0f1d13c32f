"""Checks that includes only go down: each folder may include the folders listed for it, and itself.

usage: include_direction.py FILE...
The order of layers is the one in README.md; the CMake targets say the same to the linker.
"""
import os
import re
import sys

BASE = {"common/base"}
LOW = BASE | {"common/config", "common/telemetry"}
PROTOCOL = LOW | {"common/protocol"}
KV = PROTOCOL | {"common/kv"}
ENGINE = KV | {"common/engine", "common/weights"}
SIDE = {  # these four stand side by side, above the engine
    "common/rpc": ENGINE,
    "common/transfer": ENGINE,
    "common/text": ENGINE,
    "common/model": ENGINE | {"kernels"},
}
WORKER = ENGINE | {"common/rpc", "common/transfer", "common/model", "kernels", "common/worker"}
CORE = {"common/engine", "common/kv", "common/protocol", "common/base"}

ALLOWED = {
    "common/base": BASE,
    "common/config": BASE,
    "common/telemetry": BASE,
    "common/protocol": BASE,
    "common/kv": {"common/base", "common/protocol"},
    "common/engine": {"common/base", "common/protocol", "common/kv"},
    "common/weights": BASE,
    "kernels": BASE,
    **SIDE,
    "common/worker": WORKER,
    "router/core": CORE | {"router/core"},
    "prefill_worker/core": CORE | {"prefill_worker/core"},
    "decode_worker/core": CORE | {"decode_worker/core"},
    "router": ENGINE | {"common/rpc", "common/text", "router/core", "router"},
    "prefill_worker": WORKER | {"prefill_worker/core"},
    "decode_worker": WORKER | {"decode_worker/core"},
}
FOLDERS = sorted(ALLOWED, key=len, reverse=True)


def folder_of(path):
    return next((f for f in FOLDERS if path.startswith(f + "/")), None)


def main(paths):
    wrong = 0
    for path in paths:
        if path.startswith("tests/"):
            continue
        folder = folder_of(path)
        if folder is None:
            print("%s: lies in no folder of the layout" % path)
            wrong += 1
            continue
        with open(path, encoding="utf-8") as source:
            for number, line in enumerate(source, 1):
                match = re.match(r'\s*#include "([^"]+)"', line)
                if not match or not os.path.exists(match[1]):
                    continue
                target = folder_of(match[1])
                if target != folder and target not in ALLOWED[folder]:
                    print("%s:%d: %s may not include %s" % (path, number, folder, match[1]))
                    wrong += 1
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
