"""Pictures of searches, by the artists that are drawn."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from helpers.figures import are_legible, is_inside
from helpers.messages import mentions, names
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, RandomizedSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from skcnn.inspection import SearchResultsDisplay, plot_search_results
from skcnn.model_selection import load_search_results, save_search_results

mpl.use("Agg")
import matplotlib.pyplot as plt

X, y = np.zeros((20, 2)), np.array([0, 1] * 10)


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


class Scored(ClassifierMixin, BaseEstimator):
    """Its score is a function of its parameters."""

    def __init__(self, lr=1e-3, batch_size=32, norm=None, n_rounds=1):
        self.lr = lr
        self.batch_size = batch_size
        self.norm = norm
        self.n_rounds = n_rounds

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return self.classes_[np.zeros(len(X), dtype=int)]

    def score(self, X, y):
        if self.lr > 50:
            return np.nan
        score = 0.9 - 0.1 * abs(np.log10(self.lr) + 2) - self.batch_size / 1000
        return score + 0.05 * (self.norm == "batch") + 0.001 * self.n_rounds + 0.001 * X[0, 0]


def search_over(grid, kind=GridSearchCV, **kwargs):
    return kind(Scored(), grid, cv=2, **kwargs).fit(X + np.arange(20)[:, None], y)


def texts(labels):
    return [label.get_text() for label in labels]


LRS = {"lr": [1e-1, 1e-3, 1e-2]}
CELLS = {**LRS, "batch_size": [16, 32]}
LINES = {**CELLS, "norm": [None, "batch"]}


def test_one_parameter_is_points_with_error_bars():
    search = search_over(LRS)
    display = plot_search_results(search)
    points, _, (bars,) = display.artist_
    assert_array_equal(points.get_xdata(), LRS["lr"])
    assert_array_equal(points.get_ydata(), search.cv_results_["mean_test_score"])
    lengths = [segment[1, 1] - segment[0, 1] for segment in bars.get_segments()]
    assert_allclose(lengths, 2 * search.cv_results_["std_test_score"])
    assert np.min(lengths) > 0
    ax = display.ax_
    assert ax.get_xscale() == "log"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("lr", "mean test score")
    assert texts(ax.get_xticklabels()) == ["0.001", "0.01", "0.1"]
    (best,) = display.best_artist_[0].get_xdata()
    assert best == search.best_params_["lr"]
    assert ax.get_title() == f"best: {search.best_score_:.3f} with lr=0.01"
    assert is_inside(display.figure_)


@pytest.mark.parametrize(
    ("values", "scale"),
    [([1, 30], "linear"), ([1, 31], "log"), ([0, 100], "linear"), ([-1, 100], "linear")],
)
def test_numbers_that_span_much_have_a_logarithmic_axis(values, scale):
    display = SearchResultsDisplay(pd.DataFrame({"n": values}), [0.1, 0.2]).plot()
    assert display.ax_.get_xscale() == scale


def test_categories_are_spaced_evenly():
    values = ["relu", None, True, 2.5, {"margin": 1}, [1, 2]]
    parameters = pd.DataFrame({"p": pd.Series(values, dtype=object)})
    display = SearchResultsDisplay(parameters, np.arange(6) / 10).plot()
    ticks = dict(zip(texts(display.ax_.get_xticklabels()), display.ax_.get_xticks(), strict=True))
    # Numbers come first, the others as they came.
    expected = ["2.5", "relu", "None", "True", "{'margin': 1}", "[1, 2]"]
    assert ticks == {name: position for position, name in enumerate(expected)}
    drawn = dict(zip(*display.artist_[0].get_data(), strict=True))
    assert drawn[ticks["True"]] == 0.2
    assert is_inside(display.figure_)


@pytest.mark.parametrize("others", [{}, {"batch_size": [16, 32]}, {**CELLS}])
def test_long_values_are_told_apart(others):
    values = [f"{kind}, of which there is much to say" for kind in ("batch", "group", "layer")]
    display = plot_search_results(search_over({"norm": values, **others}))
    assert is_inside(display.figure_)
    ax = display.ax_
    drawn = [ax.get_xticklabels(), ax.get_yticklabels(), ax.texts]
    shown = [text for labels in drawn for text in labels if "of which" in text.get_text()]
    assert len(shown) == 3
    for labels in drawn:
        if any(text in shown for text in labels):
            assert are_legible(labels)


def test_two_parameters_are_a_heat_map():
    search = search_over(CELLS)
    display = plot_search_results(search)
    ax = display.ax_
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("batch_size", "lr")  # sorted by scikit-learn
    assert texts(ax.get_xticklabels()) == ["0.001", "0.01", "0.1"]
    assert texts(ax.get_yticklabels()) == ["16", "32"]
    table = pd.DataFrame(search.cv_results_).pivot_table(
        index="param_batch_size", columns="param_lr", values="mean_test_score"
    )
    assert_allclose(display.artist_.get_array(), table)
    assert texts(ax.texts) == [f"{score:.3f}" for score in table.to_numpy().ravel()]
    assert display.best_artist_.get_xy() == (1, 0)
    assert ax.get_title().endswith("with batch_size=16, lr=0.01")
    assert is_inside(display.figure_)


def test_a_heat_map_over_two_of_three_shows_the_best_over_the_third():
    search = search_over(LINES)
    display = plot_search_results(search, x="batch_size", y="lr")
    table = pd.DataFrame(search.cv_results_).pivot_table(
        index="param_lr", columns="param_batch_size", values="mean_test_score", aggfunc="max"
    )
    assert_allclose(display.artist_.get_array(), table)
    assert display.figure_.axes[1].get_ylabel() == "mean test score,\nbest over norm"
    points = plot_search_results(search, x="norm").artist_[0]
    expected = pd.DataFrame(search.cv_results_).groupby("param_norm", dropna=False)
    assert sorted(points.get_ydata()) == sorted(expected["mean_test_score"].max())


def test_more_parameters_are_lines():
    search = search_over(LINES)
    display = plot_search_results(search)
    scores = search.cv_results_["mean_test_score"]
    paths = display.artist_.get_segments()
    assert_array_equal(display.artist_.get_array(), np.sort(scores))
    assert len(paths) == len(scores)
    # By hand: batch sizes 16, 32 at the ends, rates at even distances, then the score.
    params = [search.cv_results_["params"][row] for row in np.argsort(scores)]
    for path, candidate, score in zip(paths, params, np.sort(scores), strict=True):
        assert_array_equal(path[:, 0], range(4))
        expected = [
            [16, 32].index(candidate["batch_size"]),
            [1e-3, 1e-2, 1e-1].index(candidate["lr"]) / 2,
            [None, "batch"].index(candidate["norm"]),
            (score - scores.min()) / np.ptp(scores),
        ]
        assert_allclose(path[:, 1], expected)
    assert_allclose(display.best_artist_.get_ydata(), paths[-1][:, 1])
    assert display.best_artist_.get_zorder() > display.artist_.get_zorder()
    assert texts(display.ax_.get_xticklabels()) == ["batch_size", "lr", "norm"]
    assert texts(display.ax_.texts) == ["16", "32", "0.001", "0.01", "0.1", "None", "batch"]
    assert is_inside(display.figure_)


@pytest.mark.parametrize("n_parameters", [1, 2, 3])
def test_an_infinite_score_is_none(n_parameters):
    parameters = pd.DataFrame({name: [1, 2, 3] for name in "abc"[:n_parameters]})
    display = SearchResultsDisplay(parameters, [-np.inf, 0.5, np.inf]).plot()
    assert display.ax_.get_title().startswith("best: 0.500 with a=2")
    assert "2 candidates failed" in display.ax_.get_title()
    display.figure_.draw_without_rendering()


def test_equal_scores_are_in_the_middle():
    parameters = pd.DataFrame({"a": [1, 2], "b": [1, 2], "c": [1, 2]})
    display = SearchResultsDisplay(parameters, [0.5, 0.5]).plot()
    assert_allclose([path[-1, 1] for path in display.artist_.get_segments()], 0.5)


def test_values_at_random_are_points_in_a_plane():
    rng = np.random.default_rng(0)
    grid = {"lr": 10.0 ** -rng.uniform(1, 4, 50), "batch_size": rng.uniform(16, 64, 50)}
    search = search_over(grid, RandomizedSearchCV, n_iter=12, random_state=0)
    display = plot_search_results(search, x="lr", y="batch_size")
    drawn = display.artist_.get_offsets()
    params = search.cv_results_["params"]
    assert_array_equal(drawn, [[one["lr"], one["batch_size"]] for one in params])
    assert_array_equal(display.artist_.get_array(), search.cv_results_["mean_test_score"])
    assert (display.ax_.get_xscale(), display.ax_.get_yscale()) == ("log", "linear")
    best = search.best_params_
    assert_array_equal(display.best_artist_.get_offsets(), [[best["lr"], best["batch_size"]]])
    assert is_inside(display.figure_)


@pytest.mark.filterwarnings("ignore:.*scores are non-finite:UserWarning")
@pytest.mark.parametrize("grid", [LRS, CELLS, LINES], ids=["points", "cells", "lines"])
def test_failed_candidates_are_missing_and_counted(grid):
    search = search_over({**grid, "lr": [100, *grid["lr"]]})
    display = plot_search_results(search)
    n_failed = int(np.isnan(search.cv_results_["mean_test_score"]).sum())
    counted = display.ax_.get_title().splitlines()[-1]
    sign = {1: "1 candidate failed (×)", 2: "2 candidates failed (grey)"}
    assert counted == sign.get(n_failed, "4 candidates failed (grey)")
    if grid is LRS:
        assert 100 not in display.artist_[0].get_xdata()
        (crosses,) = (line for line in display.ax_.lines if line.get_label() == "failed")
        assert_array_equal(crosses.get_xdata(), [100])
    elif grid is CELLS:
        assert texts(display.ax_.texts).count("failed") == n_failed
        assert display.artist_.get_array().mask.sum() == n_failed
    else:
        finished, failed = display.ax_.collections
        assert len(finished.get_segments()) + n_failed == len(search.cv_results_["params"])
        assert len(failed.get_segments()) == n_failed
        assert {len(path) for path in failed.get_segments()} == {3}
    assert is_inside(display.figure_)


@pytest.mark.filterwarnings("ignore:.*scores are non-finite:UserWarning")
@pytest.mark.parametrize("grid", [LRS, CELLS, LINES], ids=["points", "cells", "lines"])
def test_where_all_failed_there_is_no_best(grid):
    search = search_over({**grid, "lr": [100, 200, 300]}, refit=False)
    display = plot_search_results(search)
    assert display.best_artist_ is None
    n_failed = len(search.cv_results_["params"])
    assert display.ax_.get_title().startswith(f"{n_failed} candidates failed")
    display.figure_.draw_without_rendering()


def test_halving_shows_the_last_iteration_of_each_candidate():
    search = search_over(
        CELLS,
        HalvingGridSearchCV,
        resource="n_rounds",
        min_resources=10,
        max_resources=90,
        random_state=0,
    )
    display = plot_search_results(search)
    results = pd.DataFrame(search.cv_results_)
    assert len(results) > 6  # some candidates are there twice
    table = results.pivot_table(
        index="param_batch_size", columns="param_lr", values="mean_test_score", aggfunc="last"
    )
    assert not results["mean_test_score"].is_monotonic_increasing
    by_iteration = results.sort_values("iter").pivot_table(
        index="param_batch_size", columns="param_lr", values="mean_test_score", aggfunc="last"
    )
    assert_allclose(table, by_iteration)
    assert_allclose(display.artist_.get_array(), by_iteration)
    column, row = display.best_artist_.get_xy()
    assert by_iteration.columns[column] == search.best_params_["lr"]
    assert by_iteration.index[row] == search.best_params_["batch_size"]
    over_resources = plot_search_results(search, x="n_rounds")
    assert_array_equal(over_resources.artist_[0].get_xdata(), sorted(set(results["n_resources"])))


def test_a_candidate_that_got_less_does_not_hide_one_that_got_more():
    results = pd.DataFrame(
        {
            "iter": [0, 0, 1],
            "param_a": [1, 2, 1],
            "param_b": [1, 2, 1],
            "mean_test_score": [0.9, 0.8, 0.7],
            "std_test_score": [0, 0, 0],
        }
    )
    for shuffled in (results, results[::-1]):
        display = SearchResultsDisplay.from_results(shuffled)
        cells = np.ma.filled(display.artist_.get_array(), -1)
        assert_array_equal(cells, [[0.7, -1], [-1, 0.8]])
        assert display.best_artist_.get_xy() == (0, 0)


def test_the_best_is_the_one_that_the_search_chose():
    search = search_over(CELLS, refit=lambda results: 3)  # beaten at the same rate by another size
    display = plot_search_results(search, x="lr")
    (rate,), (score,) = display.best_artist_[0].get_data()
    assert rate == search.best_params_["lr"]
    assert score == search.cv_results_["mean_test_score"][3]


def test_of_equals_the_first_is_the_best():
    results = pd.DataFrame({"param_a": [1, 2, 3], "mean_test_score": [0.5, 0.7, 0.7]})
    display = SearchResultsDisplay.from_results(results.assign(std_test_score=0.0))
    assert display.best_artist_[0].get_xdata() == [2]


def test_a_file_is_drawn_as_its_search(tmp_path):
    search = search_over(LINES)
    table = load_search_results(save_search_results(search, tmp_path / "results.json"))
    expected = plot_search_results(search)
    for results in (
        table,
        table.sort_values("mean_test_score"),
        table[table["rank_test_score"] < 9],
    ):
        display = SearchResultsDisplay.from_results(results)
        assert display.ax_.get_title() == expected.ax_.get_title()
        assert len(display.scores) == len(results)


def test_another_score_and_names_within_a_pipeline():
    rng = np.random.default_rng(0)
    grid = {"svc__C": [1, 1000], "standardscaler__with_mean": [True, False]}
    search = GridSearchCV(
        make_pipeline(StandardScaler(), SVC()),
        grid,
        cv=2,
        scoring=["accuracy", "f1"],
        refit="f1",
    ).fit(rng.normal(size=(40, 3)), np.arange(40) % 2)
    display = plot_search_results(search)
    assert (display.ax_.get_ylabel(), display.ax_.get_xlabel()) == ("with_mean", "C")
    assert display.figure_.axes[1].get_ylabel() == "mean test f1"
    display = plot_search_results(search, score="accuracy", x="svc__C", y="with_mean")
    assert sorted(display.scores) == sorted(search.cv_results_["mean_test_accuracy"])
    assert display.figure_.axes[1].get_ylabel() == "mean test accuracy"
    # The best is that of the search, whatever is shown.
    column, row = display.best_artist_.get_xy()
    assert [1, 1000][column] == search.best_params_["svc__C"]
    assert texts(display.ax_.get_yticklabels())[row] == str(
        search.best_params_["standardscaler__with_mean"]
    )


def test_names_that_would_be_the_same_are_written_in_full():
    names = ["param_pca__n", "param_svc__n"]
    results = pd.DataFrame({name: [1, 2] for name in names}).assign(
        mean_test_score=0.5, std_test_score=0.0
    )
    display = SearchResultsDisplay.from_results(results)
    assert list(display.parameters.columns) == ["pca__n", "svc__n"]


def test_in_given_axes():
    for grid in (LRS, CELLS, LINES):
        figure, ax = plt.subplots()
        display = plot_search_results(search_over(grid), ax=ax)
        assert display.ax_ is ax
        assert display.figure_ is figure


def test_what_cannot_be_drawn():
    with pytest.raises(
        NotFittedError, match=mentions("GridSearchCV", "SearchResultsDisplay.from_search")
    ):
        plot_search_results(GridSearchCV(SVC(), {"C": [1]}))
    with pytest.raises(TypeError, match=mentions("'search'", "SVC")):
        plot_search_results(SVC())
    with pytest.raises(TypeError, match=mentions("'results'", "DataFrame", "str")):
        SearchResultsDisplay.from_results("results.json")
    search = search_over(CELLS)
    for arguments, message in (
        ({"score": "f1"}, names("score", "f1")),
        ({"x": "n"}, names("x", "n")),
        ({"y": "lr"}, names("x", None)),
        ({"x": "lr", "y": "n"}, names("y", "n")),
    ):
        with pytest.raises(ValueError, match=message):
            plot_search_results(search, **arguments)
    with pytest.raises(ValueError, match=mentions("'results'", 1)):
        plot_search_results(search_over({"lr": [1e-3]}))
