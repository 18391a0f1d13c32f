"""Runs a command once for each file, on all processors, and fails when one of them fails.

usage: each_file.py [--key FILE]... COMMAND ARG... -- FILE...
"{}" in the command stands for the file. What passed is remembered by the content of everything that the answer depends on:
the file, all of our headers below it, the command, the tool, the --key files and the installed packages. Only what changed
is run again, so a whole tree takes a second. The memory is in the user's cache folder; TANDEM_LINT_CACHE moves it.
"""
import concurrent.futures
import functools
import hashlib
import os
import re
import subprocess
import sys
import time

CACHE = os.environ.get("TANDEM_LINT_CACHE") or os.path.join(
    os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "tandem", "lint")
PACKAGES = "/var/lib/dpkg/status"  # stands for the system's headers
KEPT_SECONDS = 30 * 24 * 3600


@functools.lru_cache(maxsize=None)
def digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


@functools.lru_cache(maxsize=None)
def includes(path):
    """Our files that `path` includes itself; generated and system headers are left to PACKAGES and --key."""
    with open(path, encoding="utf-8") as file:
        return [name for name in re.findall(r'^\s*#\s*include\s*"([^"]+)"', file.read(), re.M) if os.path.isfile(name)]


def below(path):
    seen, waiting = {path}, [path]
    while waiting:
        for name in includes(waiting.pop()):
            if name not in seen:
                seen.add(name)
                waiting.append(name)
    return sorted(seen)


def key(common, path):
    parts = common + [name + " " + digest(name) for name in below(path)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def check(command, common, path):
    """The command's output when it fails; None when it passes, now or before."""
    known = os.path.join(CACHE, key(common, path))
    if os.path.exists(known):
        os.utime(known)
        return None
    run = subprocess.run([path if arg == "{}" else arg for arg in command], stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True)
    if run.returncode != 0:
        return run.stdout
    with open(known, "w", encoding="utf-8"):
        pass
    return None


def main(args):
    keys = []
    while args[0] == "--key":
        keys.append(args[1])
        args = args[2:]
    end = len(args) - 1 - args[::-1].index("--")
    command, files = args[:end], args[end + 1:]
    os.makedirs(CACHE, exist_ok=True)
    for name in os.listdir(CACHE):
        path = os.path.join(CACHE, name)
        if time.time() - os.path.getmtime(path) > KEPT_SECONDS:
            os.remove(path)
    version = subprocess.run([command[0], "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout
    common = command + [version] + [digest(path) for path in keys]
    if os.path.exists(PACKAGES):
        common.append(digest(PACKAGES))
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for output in pool.map(functools.partial(check, command, common), files):
            if output is not None:
                failed += 1
                print(output, end="")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
