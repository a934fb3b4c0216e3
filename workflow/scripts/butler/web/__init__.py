"""The web page for cooks: what it asks of the servers, and how it shows their answers."""
