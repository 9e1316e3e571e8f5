"""The address of the page, checked before the seconds that its imports take. Standard library only."""

from __future__ import annotations

import ipaddress
import socket
from contextlib import closing

from pca_protect.errors import UsageError


def check_address(host: str, port: int) -> None:
    """Raises:
    UsageError: the port is in use, or the address does not belong to this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with closing(socket.socket(family)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UsageError(
                f"{host}:{port}: cannot listen on this address ({error.strerror or error}); choose another --port or --host"
            ) from error


def is_public(host: str) -> bool:
    """Whether other machines can reach a server bound to this address."""
    if host == "localhost":
        return False
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return True


def public_warning(host: str) -> str:
    return (
        f"this page listens on {host}: anyone who can reach this machine can use it without a password, and pictures are sent "
        "unencrypted; omit --host, and put a proxy with login and TLS in front of the page (--allowed-host)"
    )
