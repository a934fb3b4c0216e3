"""What the report shows, a module per section; page.py puts it on the page."""
