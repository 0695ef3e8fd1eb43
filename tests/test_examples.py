"""Every gallery script runs, writes what it names, and says so."""

from pathlib import Path

import pytest
from helpers.programs import run_script

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "examples").glob("plot_*.py"))
WRITES = {
    "plot_01_first_classifier": {"history.png", "confusion_matrix.png", "mistakes.png"},
    "plot_02_alexnet_study": {"history.png", "confusion_matrix.png", "mistakes.png"},
    "plot_03_grid_search": {"heat_map.png", "results.json"},
    "plot_04_batchnorm": {"accuracy_per_epoch.png", "inputs_of_last_relu.png"},
    "plot_05_hand_made_features": {"hog.png", "accuracy_per_size.png"},
    "plot_06_the_line": {"accuracy_and_work.png"},
    "plot_07_fine_tuning": {"images.png", "accuracy.png"},
    "plot_08_optuna": {"study.db", "trials.png"},
    "plot_09_image_folder": {
        "history.png",
        "confusion_matrix.png",
        "mistakes.png",
        "model.skcnn",
    },
}


@pytest.mark.parametrize(
    "script",
    [
        # The search starts workers, in the worker of pytest where they are started once.
        pytest.param(script, marks=pytest.mark.xdist_group("workers"))
        if "grid_search" in script.stem
        else script
        for script in SCRIPTS
    ],
    ids=[script.stem for script in SCRIPTS],
)
def test_example_runs(script, tmp_path):
    run = run_script(script, "--quick", "--output", tmp_path, folder=tmp_path)
    # A run of seconds may leave a class without a prediction, which scikit-learn warns of, and
    # networks that have hardly begun to learn.
    hasty = {"ChanceLevelWarning", "StillImprovingWarning", "UndefinedMetricWarning"}
    assert set(run.warnings) <= hasty
    written = {path.name: path for path in tmp_path.iterdir() if path.is_file()}
    assert set(written) == WRITES[script.stem]
    for name, path in written.items():
        assert path.stat().st_size > 1000, name
        assert name in run.stdout
    assert "accuracy" in run.stdout
