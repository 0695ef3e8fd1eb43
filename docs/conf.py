"""Sphinx configuration: ``make docs`` builds the site, and warnings are errors.

With SKCNN_DOCS_QUICK=1 the examples run with ``--quick``: a draft in minutes, with poor figures.
"""

import contextlib
import io
import os
import re
import shutil
import sys
import warnings
from pathlib import Path

# tqdm reads this when it is imported: a progress bar makes no sense in a page.
os.environ["TQDM_DISABLE"] = "1"
os.environ["COLUMNS"] = "96"  # of the help of the commands

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS), str(DOCS.parent)]  # gallery_arguments.py, and skcnn itself

from docutils import nodes  # noqa: E402
from docutils.parsers.rst import Directive  # noqa: E402
from sklearn.exceptions import UndefinedMetricWarning  # noqa: E402

import skcnn  # noqa: E402
from skcnn.command import main  # noqa: E402

project = "skcnn"
author = "the skcnn developers"
project_copyright = author
release = version = skcnn.__version__

# No sphinx.ext.intersphinx: it would download inventories, and the site is built without a
# network. References to other libraries are therefore plain text.
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.extlinks",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
extlinks = {"arxiv": ("https://arxiv.org/abs/%s", "arXiv:%s")}
default_role = "literal"
smartquotes = False  # quotes are those of Python
templates_path = ["_templates"]
exclude_patterns = ["_build"]

# The reference ---------------------------------------------------------------------------------

autosummary_generate = True
toc_object_entries_show_parents = "hide"
autodoc_typehints = "none"  # the Parameters section says it in words
numpydoc_show_class_members = False  # the templates say which
numpydoc_xref_param_type = False

# The gallery -----------------------------------------------------------------------------------

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "ignore_pattern": r"^(?!plot_)",
    "filename_pattern": r"[\\/]plot_",
    "within_subsection_order": "FileNameSortKey",
    "reset_argv": "gallery_arguments.reset_argv",
    "capture_repr": (),  # a page shows what its script prints and draws
    "doc_module": ("skcnn",),
    "reference_url": {"skcnn": None},
    "backreferences_dir": "generated/backreferences",
    "inspect_global_variables": False,
    "show_memory": False,
    "show_signature": False,
    "abort_on_example_error": True,
}

# sphinx-gallery runs a script again when the script changes, but not when its arguments do.
_mode = "quick" if os.environ.get("SKCNN_DOCS_QUICK") else "full"
_stamp = DOCS / "_build" / "gallery" / "mode"
if not _stamp.exists() or _stamp.read_text(encoding="utf-8") != _mode:
    shutil.rmtree(DOCS / "auto_examples", ignore_errors=True)
    _stamp.parent.mkdir(parents=True, exist_ok=True)
    _stamp.write_text(_mode, encoding="utf-8")

# The pages -------------------------------------------------------------------------------------

html_theme = "pydata_sphinx_theme"
html_title = f"skcnn {version}"
html_static_path = ["_static"]
html_css_files = ["skcnn.css"]
html_show_sourcelink = False
# Without a list of neighbours there is room for lines of 100 characters.
html_sidebars = {"index": [], "install": [], "tour": [], "auto_examples/*": []}
html_theme_options = {
    "logo": {"text": "skcnn"},
    "show_prev_next": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
if _mode == "quick":
    # A run of seconds may leave a class without a prediction.
    warnings.filterwarnings("ignore", category=UndefinedMetricWarning)
    html_theme_options["announcement"] = (
        "This is a draft: its examples ran for seconds only, so their figures say nothing."
    )


def unlink(app, what, name, obj, options, lines):
    """Turn references that lead nowhere into text.

    Methods that are inherited from scikit-learn refer to its user guide, and numpydoc makes a link
    of a fitted attribute that is a property.
    """
    for i, line in enumerate(lines):
        line = re.sub(r":(?:ref|term):`([^`<]+?)(?:\s*<[^`>]+>)?`", r"\1", line)
        lines[i] = re.sub(r":obj:`(\w+_) <[^`]*>`", r"**\1**", line)


class CommandHelp(Directive):
    """What ``python -m skcnn COMMAND --help`` prints."""

    required_arguments = 1

    def run(self):
        command = self.arguments[0]
        title = f"python -m skcnn {command}"
        with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.suppress(SystemExit):
            main([command, "--help"])
        text = printed.getvalue()
        section = nodes.section(ids=[nodes.make_id(title)])
        section += nodes.title("", "", nodes.literal(title, title))
        section += nodes.literal_block(text, text, language="text")
        return [section]


def setup(app):
    app.connect("autodoc-process-docstring", unlink, priority=900)  # after numpydoc
    app.add_directive("command-help", CommandHelp)
