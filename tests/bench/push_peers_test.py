"""What is said of a transfer engine that was not measured, and which of those that were sets the goal. Run by ctest with the
system's Python."""
import os
import sys
import tempfile
import types
import unittest
from unittest import mock

FOLDER = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [FOLDER, os.path.join(FOLDER, "push_peers")]

import engines  # noqa: E402
import pair  # noqa: E402


def context(cache, peers=True):
    return types.SimpleNamespace(cache=cache, peers=peers, say=lambda text: None)


class EnginesTest(unittest.TestCase):
    def test_the_faster_engine_sets_the_goal_and_one_without_figures_does_not(self):
        form = {"a": True, "b": True, "c": True, "d": False, "e": False}
        with mock.patch.dict(engines.ENGINES, {name: ("", {}, True, default) for name, default in form.items()}):
            must, stretch = engines.goals({"a": [2, 4, 9], "b": [3], "c": [], "d": [5], "e": [8]})
            self.assertEqual((must.name, must.target, stretch.name, stretch.target), ("must", 6, "stretch", 12))
            self.assertEqual([goal.target for goal in engines.goals({"a": []})], [None, None])

    def test_without_peers_nothing_is_installed_or_said(self):
        found = engines.Engines(context("/nowhere", peers=False))
        found.measure(engines.names(True)[0])
        self.assertEqual((found.peers(True), found.notes), ({}, []))
        self.assertEqual([goal.target for goal in found.goals(True)], [None, None])

    def test_engines_that_cannot_be_installed_are_not_measured_and_a_note_says_why(self):
        failing = mock.Mock(side_effect=engines.subprocess.CalledProcessError(1, ["pip"], stderr="no network\nmore"))
        with tempfile.TemporaryDirectory() as cache, mock.patch("engines._need_debian"), mock.patch(
                "engines.environments.installed", failing):
            found = engines.Engines(context(cache))
        for name in engines.ENGINES:
            found.measure(name)
            self.assertEqual(found.rates[name], [])
            self.assertIn(f"{name} was not measured: no network", found.notes)

    def test_an_engine_that_fails_once_is_not_tried_again_and_keeps_its_rounds(self):
        with mock.patch.object(engines.Engines, "_install", return_value="python"):
            found = engines.Engines(context("/nowhere"))
        name = engines.names(True)[0]
        with mock.patch.object(found, "_push", side_effect=[([1.0], None), ([], "broken")]) as pushed:
            for _ in range(3):
                found.measure(name)
        self.assertEqual((found.rates[name], pushed.call_count), ([1.0], 2))
        self.assertIn(f"{name} failed in a later round: broken", found.notes)


class PairTest(unittest.TestCase):
    def test_an_engine_that_is_not_there_is_a_reason_and_no_exception(self):
        rates, reason = pair.push("absent")
        self.assertEqual((rates, reason), ([], "target: ModuleNotFoundError: No module named 'absent_engine'"))


if __name__ == "__main__":
    unittest.main()
