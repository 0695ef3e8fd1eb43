"""Any images and labels, as tests/test_properties.py draws them: other ones in each run, and many.

    python tests/stress/any_input.py --examples 2000

prints how many inputs were right and how many were refused; a failure is printed as small as it
gets, with the numbers that make it.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, given, settings

sys.path.insert(0, str(Path(__file__).parents[1]))
from test_properties import check_named_error, check_right_answer, inputs


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=2000, help="of each kind")
    n_examples = parser.parse_args().examples
    many = settings(
        max_examples=n_examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    counts = Counter()

    @many
    @given(inputs())
    def right(case):
        check_right_answer(*case)
        counts["right answers"] += 1

    @many
    @given(inputs(bad=True))
    def refused(case):
        X, y, *_ = case
        check_named_error(X, y)
        counts["named errors"] += 1

    right()
    refused()
    for what, n in counts.items():
        print(f"{n} {what}")


if __name__ == "__main__":
    main()
