"""Writes the site's pages under reference/ from the program itself: nothing on them can be out of date."""
