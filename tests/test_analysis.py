"""Inspection of real classifiers: bare, at the end of a pipeline, and found by a search."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skcnn import LeNetClassifier
from skcnn.inspection import evaluate, plot_confusion_matrix, plot_history, plot_mistakes


@pytest.fixture(autouse=True)
def _no_windows():
    with mpl.rc_context({"backend": "Agg"}):
        yield
        plt.close("all")


def classifier():
    return LeNetClassifier(lr=5e-3, batch_size=32, max_epochs=2, random_state=0)


def on_flat_rows(clf):
    return make_pipeline(StandardScaler(), clf)


ESTIMATORS = {
    "classifier": (classifier, False),
    "pipeline": (lambda: on_flat_rows(classifier()), True),
    "search": (lambda: GridSearchCV(classifier(), {"lr": [5e-3]}, cv=2), False),
    "search over a pipeline": (
        lambda: GridSearchCV(
            on_flat_rows(classifier()), {"lenetclassifier__batch_size": [32]}, cv=2
        ),
        True,
    ),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_everything_works_on(name, clothes):
    make, flat = ESTIMATORS[name]
    images, y = clothes
    labels = np.array([f"class {i}" for i in range(10)])[y]
    X = images.reshape(len(images), -1) if flat else images
    estimator = make().fit(X[:200], labels[:200])
    X_test, y_test = X[200:], labels[200:]
    predicted = estimator.predict(X_test)
    wrong = np.flatnonzero(predicted != y_test)

    history = plot_history(estimator)
    assert len(history.lines_["valid_acc"].get_xdata()) == 2

    matrix = plot_confusion_matrix(estimator, X_test, y_test)
    assert np.trace(matrix.confusion_matrix) == len(y_test) - len(wrong)
    assert [text.get_text() for text in matrix.ax_.get_yticklabels()] == sorted(set(labels))

    gallery = plot_mistakes(estimator, X_test, y_test, n_images=4)
    shown = gallery.axes_.ravel()[0].images[0].get_array()
    np.testing.assert_array_equal(shown, images[200:][gallery.indices[0]])

    report = evaluate(estimator, X_test, y_test)
    assert report.accuracy == pytest.approx(estimator.score(X_test, y_test))
    assert sorted(mistake.index for mistake in report.mistakes) == wrong.tolist()
    assert len(report.mistakes_to_frame()) == len(wrong)


def test_channels_first_rows_are_shown_as_the_classifier_reads_them():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 3, 14, 15), dtype=np.uint8)
    y = np.arange(40) % 2
    clf = classifier().set_params(image_shape=(3, 14, 15), max_epochs=1)
    X = images.reshape(40, -1)
    gallery = plot_mistakes(clf.fit(X, y), X, 1 - clf.predict(X), n_images=1)
    shown = gallery.axes_.ravel()[0].images[0].get_array()
    np.testing.assert_array_equal(shown, np.moveaxis(images[gallery.indices[0]], 0, 2))
