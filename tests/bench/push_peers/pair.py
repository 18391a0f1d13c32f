"""Both processes of a push by another engine: "pair.py ENGINE" prints a line of JSON, [GB/s of each window, null], or
[[], why there are none]. Without one of the processes the other's input ends, and with it the process."""
import json
import os
import subprocess
import sys

END = os.path.join(os.path.dirname(os.path.abspath(__file__)), "end.py")
EXIT_S = 10


class Silent(Exception):
    """An end did not answer, for the reason that it gave."""


class End:
    def __init__(self, engine, role):
        self._role = role
        self._process = subprocess.Popen([sys.executable, END, engine, role], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         stderr=subprocess.DEVNULL, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self._process.communicate(timeout=EXIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def tell(self, value):
        try:
            print(json.dumps(value), file=self._process.stdin, flush=True)
        except BrokenPipeError:
            pass  # its answer says why

    def answer(self):
        """Waits no longer than the process lives, which sees to that by itself."""
        line = self._process.stdout.readline()
        if not line:
            raise Silent(f"the {self._role} ended with status {self._process.wait()}")
        value, reason = json.loads(line)
        if reason:
            raise Silent(f"{self._role}: {reason}")
        return value


def push(engine):
    with End(engine, "target") as target, End(engine, "initiator") as initiator:
        try:
            initiator.tell(target.answer())
            rates = initiator.answer()
            target.tell("arrived?")
            return (rates, None) if target.answer() else ([], "the target holds other bytes than were pushed")
        except Silent as silent:
            return [], str(silent)


if __name__ == "__main__":
    print(json.dumps(push(sys.argv[1])))
