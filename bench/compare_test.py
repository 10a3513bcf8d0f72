"""The arithmetic of compare.py: python3 -m unittest discover -s bench -p '*_test.py'"""
import unittest

import compare


def round_of(ours, theirs):
    return {"llorch": {"single": {"ttft_ms": {"p50": ours}}},
            "llama-server": {"single": {"ttft_ms": {"p50": theirs}}}}


class Summary(unittest.TestCase):
    figure = compare.Figure("TTFT", "ttft_ms.p50", "ms", False)

    def test_takes_medians_and_the_ratio_round_by_round(self):
        rounds = [round_of(10, 20), round_of(100, 50), round_of(20, 60)]
        spread, ratio = compare.summary(rounds, "single", self.figure)
        self.assertEqual(spread["llorch"], (20, 10, 100))
        self.assertEqual(spread["llama-server"], (50, 20, 60))
        self.assertEqual(ratio, 2)  # of 2, 0.5 and 3: above 1 is better

    def test_turns_the_ratio_for_what_should_be_large(self):
        figure = compare.Figure("speed", "ttft_ms.p50", "tok/s", True)
        self.assertEqual(compare.summary([round_of(30, 20)], "single", figure)[1], 1.5)

    def test_leaves_out_a_round_without_the_figure(self):
        spread, ratio = compare.summary([round_of(10, 20), {"llorch": {}}], "single", self.figure)
        self.assertEqual(spread["llorch"], (10, 10, 10))
        self.assertEqual(ratio, 2)


class Table(unittest.TestCase):
    def test_has_a_row_per_figure_and_a_dash_for_what_is_missing(self):
        rows = compare.table([round_of(10, 20)], ["single"]).splitlines()
        self.assertEqual(len(rows), 2 + len(compare.START) + len(compare.CASES["single"].figures))
        self.assertIn("| 1 stream | decode | – | – | – |", rows)
        self.assertIn("| 1 stream | TTFT p50 | 10 ms (10–10) | 20 ms (20–20) | 2.00x |", rows)


class Failures(unittest.TestCase):
    def test_are_summed_by_server_case_and_kind(self):
        one = {"llorch": {"single": {"errors": {"timeout": 2}}}}
        self.assertEqual(compare.failures([one, one]), ["llorch, single: 4 x timeout"])


class Equality(unittest.TestCase):
    def test_counts_equal_answers_and_names_the_others(self):
        self.assertEqual(compare.equality_text(["a", "b"], [[1, 2], [3]], [[1, 2], [3]]), "2 of 2")
        self.assertEqual(compare.equality_text(["a", "b"], [[1, 2], [3]], [[1, 2], [3, 4]]),
                         "1 of 2 (not 'b')")


if __name__ == "__main__":
    unittest.main()
