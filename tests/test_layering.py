"""Who may import whom: parsed, so that an uphill import fails even where it is never run."""

import ast
from pathlib import Path

import skcnn

ROOT = Path(skcnn.__file__).parent

# Room → the rooms of skcnn, and the other packages, that its files may import anywhere, and those
# that they may import only where they are used.
STANDARD = {"numpy", "torch"}
ALLOWED = {
    "exceptions": (set(), {"sklearn"}, set()),
    "_version": (set(), set(), set()),
    "_files": (set(), set(), set()),
    "_paths": (set(), {"numpy"}, set()),
    "memory": ({"_files", "_version", "exceptions"}, {*STANDARD, "filelock", "joblib"}, set()),
    "_plain_json": (set(), STANDARD, set()),
    "_model_file": ({"_files", "_plain_json", "_version", "exceptions"}, {"torch"}, set()),
    "networks": (set(), {"torch"}, {"torchvision"}),
    "transfer": (set(), {"torch"}, {"safetensors", "torchvision"}),
    "images": ({"exceptions"}, STANDARD, {"PIL", "tqdm"}),
    "training": (
        {"exceptions", "images", "transfer"},
        {*STANDARD, "psutil", "skorch", "sklearn"},
        {"accelerate", "torchvision", "tqdm"},
    ),
    "callbacks": ({"training"}, set(), set()),
    "_validation": (set(), {"sklearn"}, set()),
    "_docstrings": (set(), set(), set()),
    "_labels": ({"_validation", "images"}, {"numpy", "sklearn"}, set()),
    "_fit_parts": ({"memory", "training"}, {"sklearn", "skorch", "torch"}, set()),
    "_summary": ({"training", "transfer"}, {"sklearn", "torch"}, {"pandas", "torchinfo"}),
    "_export": (
        {"_files", "_version", "images", "training"},
        {*STANDARD, "sklearn"},
        {"onnx", "onnxruntime", "onnxscript"},
    ),
    "_prediction": (
        {"_labels", "_paths", "images", "training", "transfer"},
        {*STANDARD, "scipy", "sklearn"},
        set(),
    ),
    "_saved_network": ({"_model_file", "training"}, {"torch"}, set()),
    "_saving": (
        {
            "_files",
            "_model_file",
            "_plain_json",
            "_saved_network",
            "exceptions",
            "images",
            "memory",
            "training",
            "transfer",
        },
        {*STANDARD, "sklearn"},
        set(),
    ),
    "_parameters": (
        {"_fit_parts", "_validation", "training"},
        {*STANDARD, "joblib", "sklearn", "skorch"},
        set(),
    ),
    "_base": (
        {
            "_export",
            "_fit_parts",
            "_labels",
            "_parameters",
            "_prediction",
            "_saving",
            "_summary",
            "exceptions",
            "images",
            "memory",
            "training",
            "transfer",
        },
        {*STANDARD, "sklearn", "skorch"},
        set(),
    ),
    "classifiers": ({"_base", "_docstrings", "_validation", "networks"}, {"torch"}, set()),
    "persistence": (
        {"_base", "_model_file", "classifiers", "exceptions", "memory", "training"},
        {"torch"},
        set(),
    ),
    "datasets": ({"exceptions", "images"}, {"numpy", "sklearn"}, {"tqdm"}),
    "model_selection": (
        {"_files", "_labels", "_paths", "_version", "images"},
        {"numpy", "sklearn"},
        {"pandas"},
    ),
    "inspection": (
        {"_labels", "_paths", "callbacks", "exceptions", "images", "model_selection"},
        {"numpy", "scipy", "sklearn"},
        {"matplotlib", "pandas", "seaborn"},
    ),
    "command": (
        {
            "_files",
            "_version",
            "classifiers",
            "datasets",
            "exceptions",
            "images",
            "inspection",
            "memory",
            "persistence",
            "training",
            "transfer",
        },
        {"numpy", "sklearn"},
        {"matplotlib"},
    ),
    "__main__": ({"command"}, set(), set()),
    "__init__": ({"_version"}, set(), set()),
}
FILES = sorted(ROOT.rglob("*.py"))


def room_of(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path):
    """Names imported by a file, each with whether it stands at the top level."""
    tree = ast.parse(path.read_text())
    at_import = {
        node
        for statement in tree.body
        if not isinstance(statement, ast.FunctionDef | ast.ClassDef)
        for node in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [node.module]
        else:
            continue
        for name in names:
            yield name, node in at_import


def test_imports_run_downhill():
    for path in FILES:
        rooms, packages, where_used = ALLOWED[room_of(path)]
        rooms = {*rooms, room_of(path)}
        for name, at_import in imports(path):
            package, _, rest = name.partition(".")
            if package == "skcnn":
                assert rest.split(".")[0] in rooms, (path, name)
            elif package not in STANDARD_LIBRARY:
                allowed = packages if at_import else packages | where_used
                assert package in allowed, (path, name)


def test_private_helpers_of_scikit_learn_are_imported_in_one_file():
    for path in FILES:
        if path.name == "_validation.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "sklearn":
                parts = [*node.module.split("."), *(alias.name for alias in node.names)]
                assert not any(part.startswith("_") for part in parts), (path, parts)


def test_the_table_names_no_room_that_is_gone():
    assert set(ALLOWED) == {room_of(path) for path in FILES}


STANDARD_LIBRARY = set(__import__("sys").stdlib_module_names)
