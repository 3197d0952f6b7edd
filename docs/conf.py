"""The manual: Markdown, built by Sphinx; broken references and bad diagrams are errors."""

from base64 import b64encode
from typing import ClassVar

import mermaidx
from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

project = "sashizu"
author = "the authors of sashizu"
html_title = "sashizu"
html_theme = "furo"
extensions = ["myst_parser"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3
myst_fence_as_directive = ["mermaid"]
nitpicky = True


class Mermaid(Directive):
    """A fenced diagram, drawn by Mermaid itself while the manual is built."""

    has_content: ClassVar[bool] = True

    def run(self) -> list[nodes.Node]:
        try:
            svg = mermaidx.render("\n".join(self.content)).svg()
        except RuntimeError as error:
            raise self.error(str(error)) from error
        data = b64encode(svg.encode()).decode()
        return [nodes.image(uri=f"data:image/svg+xml;base64,{data}", alt="diagram")]


def setup(app: Sphinx) -> None:
    app.add_directive("mermaid", Mermaid)
