"""The statistics and verdicts that every table rests on. Run by ctest with the system's Python."""
import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import load  # noqa: E402
import traces  # noqa: E402
from report import Goal, Row, Table, number, percentile, spread, summary  # noqa: E402


def answer(events, counts=None):
    return load.Answer("a", 0, 0, 9, events, counts or [1] * len(events), 200, "length", True, False, None, {}, {}, len(events))


class ReportTest(unittest.TestCase):
    def test_percentile_is_a_sample_that_was_seen(self):
        self.assertEqual(percentile(range(1, 101), 0.99), 99)
        self.assertEqual(percentile([5, 1, 3], 0.5), 3)
        self.assertEqual(percentile([7], 0.99), 7)
        self.assertIsNone(percentile([], 0.5))

    def test_numbers_keep_three_digits(self):
        self.assertEqual([number(x) for x in (1234.6, 123.4, 1.234, 0.01234)], ["1,235", "123", "1.23", "0.0123"])

    def test_one_run_is_not_shown_as_a_range(self):
        self.assertEqual(spread([2.0]), "2.00 (1 run)")
        self.assertEqual(spread([1, 2, 9]), "2.00 [1.00 - 9.00]")
        self.assertEqual(spread([]), "not measured")

    def test_a_goal_without_its_peer_is_neither_met_nor_missed(self):
        self.assertEqual(Goal("must", "2 x peer", None).verdict(Row("r", "ms", [1])), "not measured")

    def test_goals_turn_with_the_direction_of_the_figure(self):
        goal = Goal("must", "x", 10)
        self.assertEqual(goal.verdict(Row("r", "tokens/s", [9])), "NOT MET")
        self.assertEqual(goal.verdict(Row("r", "ms", [9], higher_is_better=False)), "met")

    def test_the_share_of_a_ceiling_is_at_most_one_in_both_directions(self):
        self.assertEqual(Row("r", "GB/s", [5], ceiling=10).share(), 0.5)
        self.assertEqual(Row("r", "ms", [20], higher_is_better=False, ceiling=10).share(), 0.5)

    def test_the_summary_counts_goals_and_names_those_that_are_not_met(self):
        goals = [Goal("must", "x", 10), Goal("stretch", "x", 20), Goal("must", "peer", None)]
        lines = summary([Table("c", "t", [Row("quick", "1/s", [15], goals=goals)])]).splitlines()
        self.assertIn("- must: 1 of 2 met", lines)
        self.assertIn("  - not measured: c: quick, 1/s: 15.0 (1 run), must ? (peer)", lines)
        self.assertIn("- stretch: 0 of 1 met", lines)
        self.assertIn("  - NOT MET: c: quick, 1/s: 15.0 (1 run), stretch 20.0 (x)", lines)

    def test_the_summary_names_claims_that_failed(self):
        self.assertIn("- CLAIM FAILED, none of its goals is counted: push", summary([], ["push"]).splitlines())

    def test_what_never_came_is_no_number(self):
        self.assertEqual(number(float("inf")), "none")

    def test_a_table_names_what_was_not_measured(self):
        self.assertIn("not measured", Table("c", "t", [Row("r", "ms", [])]).markdown())


class AnswerTest(unittest.TestCase):
    def test_fewer_tokens_than_were_asked_for_are_no_answer(self):
        whole = answer([1, 2, 3])
        self.assertTrue(whole.ok)
        whole.usage = {"completion_tokens": 3}
        self.assertTrue(whole.ok)
        whole.usage = {"completion_tokens": 2}
        self.assertFalse(whole.ok)
        whole.cut = True
        self.assertTrue(whole.ok)


class TraceTest(unittest.TestCase):
    def test_drawn_arrivals_keep_their_rate_however_uneven(self):
        for bursty in (False, True):
            self.assertAlmostEqual(len(traces.drawn(5, 4000, 1, bursty)) / 20000, 1, delta=0.1)

    def test_a_recorded_trace_is_squeezed_to_the_rate_and_keeps_its_unevenness(self):
        recorded = [traces.Arrival(at, 4000, 400) for at in (100, 100, 100, 200)]
        found = traces.scaled(recorded, rate=2, span_s=2, seed=0)
        self.assertEqual([a.at for a in found], [0, 0, 0, 2])
        self.assertEqual({(a.prompt, a.output) for a in found}, {(traces.MEAN_PROMPT, traces.MEAN_OUTPUT)})

    def test_both_published_forms_of_traces_are_read(self):
        forms = ["TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.5000000,374,44\n",
                 '{"timestamp": 1500, "input_length": 374, "output_length": 44, "hash_ids": [0]}\n']
        for form in forms:
            with tempfile.NamedTemporaryFile("w") as file:
                file.write(form)
                file.flush()
                (only,) = traces.read(file.name)
                self.assertEqual((only.at % 1, only.prompt, only.output), (0.5, 374, 44))


class LoadTest(unittest.TestCase):
    def test_the_common_rate_counts_only_while_all_streams_run(self):
        first, second = answer([0, 1, 2, 3, 4]), answer([2, 2.5, 3, 3.5])
        self.assertEqual(load.rate_together([first, second]), (1 + 3) / 1.5)

    def test_streams_that_never_run_together_have_no_common_rate(self):
        self.assertEqual(load.rate_together([answer([0, 1]), answer([2, 3])]), 0.0)

    def test_gaps_that_reach_into_a_span_belong_to_it(self):
        self.assertEqual(answer([0, 1, 3, 10, 11]).gaps(since=2, until=5), [2, 7])

    def test_a_stream_without_its_end_is_no_success(self):
        cut_short = answer([1, 2])
        cut_short.whole = False
        self.assertFalse(cut_short.ok)


if __name__ == "__main__":
    unittest.main()
