"""What the report shows, a module per section; html_page.py puts them on the page."""
