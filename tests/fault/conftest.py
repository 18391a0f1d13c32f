import os
import sys

# The clusters are those of tests/e2e.
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "e2e"))
sys.path.insert(0, os.path.dirname(__file__))


def pytest_terminal_summary(terminalreporter):
    """What was measured, also of the tests that passed."""
    from figures import FIGURES
    if FIGURES:
        terminalreporter.section("measured")
    for line in FIGURES:
        terminalreporter.write_line(line)
