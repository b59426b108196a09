"""All pages under reference/."""

from __future__ import annotations

from ddmkit import Registry
from ddmkit_docs.components import INTERFACES, import_page, kind_page, testing_page
from ddmkit_docs.running import commands_page, configuration_page, event_pages, hooks_page, presets_page


def reference() -> dict[str, str]:
    """Return the Markdown of each page by its path in the site."""
    registry = Registry()
    kinds = {interface.kind: kind_page(registry, interface) for interface in INTERFACES}
    pages = {
        **kinds,
        **{f"events/{event}": text for event, text in event_pages().items()},
        "configuration": configuration_page(),
        "presets": presets_page(registry),
        "commands": commands_page(),
        "hooks": hooks_page(),
        "ddmkit": import_page(),
        "testing": testing_page(),
    }
    return {f"reference/{name}.md": text for name, text in pages.items()}
