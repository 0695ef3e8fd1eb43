"""Every public docstring says what it must, and the code on the pages of docs/ runs."""

import doctest
import inspect
import re
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from numpydoc.docscrape import FunctionDoc, NumpyDocString
from sklearn.base import ClassifierMixin

import skcnn

DOCS = Path(__file__).parents[1] / "docs"


def _public_objects():
    """Every public class and function, by the name under which it is imported."""
    for name in skcnn.__all__:
        public = getattr(skcnn, name)
        if not inspect.ismodule(public):
            yield f"skcnn.{name}", public
            continue
        for inner in public.__all__:
            yield f"skcnn.{name}.{inner}", getattr(public, inner)


def _public_methods(cls):
    """Methods and classmethods of a class that are skcnn's own, inherited ones too."""
    for name, _ in inspect.getmembers(cls, callable):
        method = inspect.unwrap(getattr(cls, name))
        if not name.startswith("_") and getattr(method, "__module__", "").startswith("skcnn."):
            yield name, method


OBJECTS = dict(_public_objects())
CLASSES = {name: item for name, item in OBJECTS.items() if inspect.isclass(item)}
FUNCTIONS = {name: item for name, item in OBJECTS.items() if not inspect.isclass(item)}
CLASSIFIERS = {name: cls for name, cls in CLASSES.items() if issubclass(cls, ClassifierMixin)}
# The methods of networks and callbacks are torch's and skorch's, which call them.
METHODS = {
    f"{name}.{method_name}": method
    for name, cls in CLASSES.items()
    if name in CLASSIFIERS or name.startswith("skcnn.inspection.")
    for method_name, method in _public_methods(cls)
}


def _documented(docstring, section="Parameters"):
    """Names in a section, in order; "X_val, y_val : array-like" counts as two."""
    entries = NumpyDocString(inspect.cleandoc(docstring))[section]
    return [name.strip(" *") for entry in entries for name in entry.name.split(",")]


def _of_signature(function):
    return [name for name in inspect.signature(function).parameters if name not in ("self", "cls")]


def test_there_is_something_to_check():
    assert {"skcnn.LeNetClassifier", "skcnn.CNNClassifier"} <= set(CLASSIFIERS)
    assert "skcnn.datasets.fetch_fashion_mnist" in FUNCTIONS
    assert {
        "skcnn.LeNetClassifier.fit",
        "skcnn.AlexNetClassifier.predict_proba",
        "skcnn.inspection.HistoryDisplay.from_estimator",
    } <= set(METHODS)


def test_docstrings_are_complete_and_parsable():
    for name, item in OBJECTS.items():
        # Not inherited: a subclass without a docstring of its own would show its parent's.
        docstring = item.__doc__
        assert docstring, name
        # Filled in by skcnn._docstrings.
        assert not re.search(r"\{\w*shared\w*\}", docstring), name
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a section of unknown name
            parsed = NumpyDocString(inspect.cleandoc(docstring))
        assert " ".join(parsed["Summary"]).endswith("."), name


def test_reference_lists_every_public_object_once():
    module, listed = "", []
    for line in (DOCS / "api.rst").read_text(encoding="utf-8").splitlines():
        if line.startswith(".. currentmodule:: "):
            module = line.split()[-1]
        elif re.fullmatch(r"   \w+", line):
            listed.append(f"{module}.{line.strip()}")
    assert sorted(listed) == sorted(OBJECTS)


def test_classifiers_document_exactly_their_parameters():
    for name, cls in CLASSIFIERS.items():
        documented = _documented(cls.__doc__)
        assert sorted(documented) == sorted(cls().get_params()), name


def test_classes_document_exactly_their_parameters():
    for class_name in CLASSES.keys() - CLASSIFIERS.keys():
        cls = CLASSES[class_name]
        entries = _documented(cls.__doc__)
        if issubclass(cls, BaseException):
            assert entries == [], class_name
        elif "Attributes" in cls.__doc__ and not entries:
            # A record, made by skcnn and not by its users: its fields are its attributes.
            shown = [name for name in _of_signature(cls) if not name.startswith("_")]
            shown += [name for name, value in vars(cls).items() if isinstance(value, property)]
            assert _documented(cls.__doc__, "Attributes") == shown, class_name
        else:
            assert entries == _of_signature(cls), class_name


def test_functions_document_exactly_their_parameters_and_what_they_return():
    for name, function in {**FUNCTIONS, **METHODS}.items():
        assert _documented(function.__doc__) == _of_signature(function), name
        returned = FunctionDoc(function)["Returns"]
        nothing = inspect.signature(function).return_annotation == "None"
        assert bool(returned) != nothing, name
        assert all(value.type for value in returned), name


def test_classifiers_have_all_sections():
    for name, cls in CLASSIFIERS.items():
        for section in ("Attributes", "Examples", "See Also"):
            assert NumpyDocString(inspect.cleandoc(cls.__doc__))[section], (name, section)


@pytest.mark.xdist_group("workers")  # of joblib, which one page asks for
@pytest.mark.parametrize("page", sorted(DOCS.glob("*.rst")), ids=lambda page: page.name)
def test_code_on_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plt.switch_backend("agg")
    failed, tried = doctest.testfile(str(page), module_relative=False, encoding="utf-8")
    plt.close("all")
    assert failed == 0
    assert tried or ">>>" not in page.read_text(encoding="utf-8")
    assert not list(tmp_path.iterdir())


# Of loading, of saving, of what reads folders, and of find_lr.
NOT_OF_FIT = {
    "DuplicateFilesWarning",
    "LearningRateRangeWarning",
    "ModelVersionWarning",
    "UnsavedParameterWarning",
}


def test_fit_documents_its_warnings():
    warned = {
        name
        for name in skcnn.exceptions.__all__
        if issubclass(getattr(skcnn.exceptions, name), Warning)
    }
    documented = NumpyDocString(inspect.cleandoc(skcnn.LeNetClassifier.fit.__doc__))["Warns"]
    assert {entry.type for entry in documented} == warned - NOT_OF_FIT
