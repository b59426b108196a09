"""What MkDocs calls while it builds the site."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File

from ddmkit_docs.reference import reference

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

_PICTURES = "benchmarks/results"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that the program writes, and the pictures that pages show from outside of docs/."""
    for path, text in reference().items():
        files.append(File.generated(config, path, content=text))
    root = Path(config.docs_dir).parent
    for picture in sorted((root / _PICTURES).glob("*.png")):
        files.append(File.generated(config, f"{_PICTURES}/{picture.name}", abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let pages that lie directly under docs/ find those pictures where the site has them."""
    del page, config, files
    return markdown.replace(f"](../{_PICTURES}/", f"]({_PICTURES}/")
