"""How Sphinx makes the site; see tools/build_docs.py, which calls it."""

project = "mixtransfer"
copyright = "the authors of mixtransfer, Apache-2.0"
extensions = ["myst_parser", "sphinx_copybutton"]
html_theme = "furo"
html_title = "mixtransfer"
html_theme_options = {"announcement": '<a href="api/index.html">The Python API</a>'}
html_copy_source = False
exclude_patterns = ["configs/**"]
myst_heading_anchors = 3
copybutton_exclude = ".linenos, .gp"
