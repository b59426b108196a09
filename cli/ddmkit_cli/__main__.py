"""`python -m ddmkit_cli`, for launchers that begin modules: the `ddmkit` command."""

from __future__ import annotations

from ddmkit_cli.app import run

if __name__ == "__main__":
    run()
