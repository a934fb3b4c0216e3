"""Where a server listens, and how it and its clients find each other."""

import socket
import urllib.request
from argparse import ArgumentTypeError

from butler.errors import ButlerError

KEY_VARIABLE = "RECIPE_BUTLER_API_KEY"
# What is asked on this machine must not go through a proxy.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
OUR_SERVER = "recipe-butler"  # owner in /v1/models of the reference engine's server


def port_number(text: str) -> int:
    """Read a command line's port.

    Raises:
        ArgumentTypeError: if it is none.
    """
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise ArgumentTypeError(f"{text} is not in 0..65535")
    return int(text)


def listen(host: str, port: int, at_once: bool = False) -> socket.socket:
    """Return a socket bound to `host`; port 0 takes a free one.

    With `at_once` whoever connects waits until the server takes it; else that is refused till then.

    Raises:
        ButlerError: if it cannot listen there.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        if at_once:
            sock.listen()
    except OSError as error:
        sock.close()
        raise ButlerError(
            f"cannot listen on {host}:{port}: {error.strerror or error}; name another with --host "
            "or --port"
        ) from error
    return sock
