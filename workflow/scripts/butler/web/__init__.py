"""The web page: what it asks of the servers, and how it shows their answers."""
