"""The console script, which is `python -m ddmkit_cli` too."""

from __future__ import annotations

import gc


def run() -> None:
    """Run the command line.

    No garbage is looked for until a command begins: what is imported until then is none, and to look at it takes up to
    a tenth of the time.
    """
    gc.disable()
    from ddmkit_cli import app

    app.run()


if __name__ == "__main__":
    run()
