"""The arithmetic of compare.py: python3 -m unittest discover -s bench -p '*_test.py'"""
import types
import unittest

import compare
import compare_table as table

DEFAULT = types.SimpleNamespace(other="", best=False, also={}, flags={})


def round_of(ours, theirs):
    return {"llorch": {"single": {"ttft_ms": {"p50": ours}}},
            "llama-server": {"single": {"ttft_ms": {"p50": theirs}}}}


class Summary(unittest.TestCase):
    figure = table.Figure("TTFT", "ttft_ms.p50", "ms", False)

    def test_takes_medians_and_the_ratio_round_by_round(self):
        rounds = [round_of(10, 20), round_of(100, 50), round_of(20, 60)]
        spread, ratio = table.summary(rounds, "single", self.figure)
        self.assertEqual(spread["llorch"], (20, 10, 100))
        self.assertEqual(spread["llama-server"], (50, 20, 60))
        self.assertEqual(ratio, 2)  # of 2, 0.5 and 3: above 1 is better

    def test_turns_the_ratio_for_what_should_be_large(self):
        figure = table.Figure("speed", "ttft_ms.p50", "tok/s", True)
        self.assertEqual(table.summary([round_of(30, 20)], "single", figure)[1], 1.5)

    def test_leaves_out_a_round_without_the_figure(self):
        spread, ratio = table.summary([round_of(10, 20), {"llorch": {}}], "single", self.figure)
        self.assertEqual(spread["llorch"], (10, 10, 10))
        self.assertEqual(ratio, 2)


class Table(unittest.TestCase):
    def test_has_a_row_per_figure_and_a_dash_for_what_is_missing(self):
        rows = table.table([round_of(10, 20)], ["single"], DEFAULT).splitlines()
        self.assertEqual(len(rows), 2 + len(table.START) + len(table.CASES["single"].figures))
        self.assertIn("| 1 stream | decode | – | – | – |", rows)
        self.assertIn("| 1 stream | TTFT p50 | 10 ms (10–10) | 20 ms (20–20) | 2.00x |", rows)

    def test_names_the_flags_that_were_best_and_shows_other_programs(self):
        one = round_of(10, 20) | {"pinned": {"single": {"ttft_ms": {"p50": 11}}}}
        options = types.SimpleNamespace(other="", best=True, also={"pinned": "x"},
                                        flags={"single": ("-kvu",)})
        rows = table.table([one], ["single"], options).splitlines()
        self.assertIn("| 1 stream | TTFT p50 | 10 ms (10–10) | 20 ms (20–20) | 2.00x | -kvu | "
                      "11 ms (11–11) |", rows)
        self.assertEqual({row.count("|") for row in rows}, {8})


class BestFlags(unittest.TestCase):
    def test_are_those_of_the_best_first_figure_without_failures(self):
        def speed(tokens_per_s, **more):
            return {"chat4": {"tokens_per_s": tokens_per_s, **more}}
        trials = {(): speed(10), ("-kvu",): speed(12),
                  ("-fa", "off"): speed(20, errors={"timeout": 1})}
        self.assertEqual(table.best_flags(trials, ["chat4"]), {"chat4": ("-kvu",)})

    def test_are_the_least_where_less_is_better(self):
        trials = {(): {"prefill": {"ttft_ms": {"p50": 5}}}, ("-kvu",): {"prefill": {"ttft_ms": {}}}}
        self.assertEqual(table.best_flags(trials, ["prefill"]), {"prefill": ()})


class Failures(unittest.TestCase):
    def test_are_summed_by_server_case_and_kind(self):
        one = {"llorch": {"single": {"errors": {"timeout": 2}}}}
        self.assertEqual(table.failures([one, one]), ["llorch, single: 4 x timeout"])


class Equality(unittest.TestCase):
    def test_counts_equal_answers_and_names_the_others(self):
        self.assertEqual(compare.equality_text(["a", "b"], [[1, 2], [3]], [[1, 2], [3]]), "2 of 2")
        self.assertEqual(compare.equality_text(["a", "b"], [[1, 2], [3]], [[1, 2], [3, 4]]),
                         "1 of 2 (not 'b')")


if __name__ == "__main__":
    unittest.main()
