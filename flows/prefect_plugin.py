"""Prefect plugin: lets ``prefect deployment run predict-video`` work as typed.

Prefect calls `setup_environment` whenever it is imported with plugins enabled (the project's
pyproject.toml enables them for commands typed in its folder; ``PREFECT_PLUGINS_ENABLED=true``
does anywhere). It does two things and nothing else:

* a deployment may be named without its flow (``predict-video`` for ``predict-video/predict-video``)
  where exactly one deployment has that name;
* where no Prefect API is configured and ``rmfn serve`` is running, its server is the one talked to.

It is imported by every Prefect command, so it imports nothing heavy.
"""

from __future__ import annotations

import functools
import http.client
import json
import logging
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from prefect.plugins import HookContext, register_hook

# What is patched is public, but its behaviour is known for these versions only.
SUPPORTED_PREFECT = "3."

SERVED_FILE = "rmfn-serve.json"

_MARK = "accepts_bare_names"


@register_hook
def setup_environment(*, ctx: HookContext) -> None:
    """Accept bare deployment names and find the server of ``rmfn serve``."""
    logger = ctx.logger_factory("prefect.plugins.rmfn")
    if not ctx.prefect_version.startswith(SUPPORTED_PREFECT):
        logger.debug("rmfn's plugin is made for Prefect 3, found %s", ctx.prefect_version)
        return
    accept_bare_names(logger)
    if not ctx.api_url and (served := find_served()) is not None:
        # Prefect reads its settings again after this hook. Returning the variable instead would
        # make Prefect log a line on each command.
        os.environ["PREFECT_API_URL"] = served["api_url"]


def served_file() -> Path:
    """Where a running ``rmfn serve`` says at which address it is found."""
    from prefect.settings import get_current_settings

    return get_current_settings().home / SERVED_FILE


def find_served() -> dict[str, Any] | None:
    """``api_url`` and ``pid`` of the ``rmfn serve`` that is running, None where there is none."""
    try:
        served = json.loads(served_file().read_text())
        os.kill(served["pid"], 0)  # asks only whether there is such a process
        return served if answers(str(served["api_url"])) else None
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return None


def answers(api_url: str, timeout: float = 2.0) -> bool:
    """Whether a Prefect API is alive at this address (asked directly, never through a proxy)."""
    address = urlsplit(api_url)
    if address.hostname is None:
        return False
    connection = http.client.HTTPConnection(address.hostname, address.port or 80, timeout=timeout)
    try:
        connection.request("GET", f"{address.path.rstrip('/')}/health")
        response = connection.getresponse()
        return response.status == 200 and response.read(16).strip() == b"true"
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def accept_bare_names(logger: logging.Logger) -> None:
    """Make both Prefect clients read a deployment by its own name alone. Safe to call again."""
    from prefect.client.orchestration import PrefectClient, SyncPrefectClient

    for client_class, wrap in ((PrefectClient, _wrap_async), (SyncPrefectClient, _wrap_sync)):
        original = getattr(client_class, "read_deployment_by_name", None)
        if original is None:
            logger.debug("rmfn's plugin finds no read_deployment_by_name to extend")
        elif not getattr(original, _MARK, False):
            wrapped = functools.wraps(original)(wrap(original, logger))
            setattr(wrapped, _MARK, True)
            setattr(client_class, "read_deployment_by_name", wrapped)  # noqa: B010


def _wrap_async(original: Any, logger: logging.Logger) -> Any:
    async def read_deployment_by_name(self: Any, name: str) -> Any:
        if "/" in name:
            return await original(self, name)
        found = await self.read_deployments(deployment_filter=_with_name(name))
        return _choose(name, found, self, logger)

    return read_deployment_by_name


def _wrap_sync(original: Any, logger: logging.Logger) -> Any:
    def read_deployment_by_name(self: Any, name: str) -> Any:
        if "/" in name:
            return original(self, name)
        found = self.read_deployments(deployment_filter=_with_name(name))
        return _choose(name, found, self, logger)

    return read_deployment_by_name


def _with_name(name: str) -> Any:
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName

    return DeploymentFilter(name=DeploymentFilterName(any_=[name]))


def _choose(name: str, found: list[Any], client: Any, logger: logging.Logger) -> Any:
    """The only deployment of that name.

    Raises
    ------
    ObjectNotFound : there is none, or more than one. Prefect's commands turn it into one line;
        what to do about it is logged before.
    """
    from prefect.client.base import ServerType
    from prefect.exceptions import ObjectNotFound

    unserved = client.server_type == ServerType.EPHEMERAL
    if len(found) == 1:
        if unserved:
            logger.warning("`rmfn serve` is not running: what is asked for waits until it is")
        return found[0]
    if found:
        help_message = (
            f"{len(found)} deployments are named {name!r}: write <flow>/{name}, as "
            "`prefect deployment ls` lists them"
        )
    elif unserved:
        help_message = f"no deployment is named {name!r}: start `rmfn serve` in another terminal"
    else:
        help_message = (
            f"no deployment is named {name!r} at {client.api_url}: is `rmfn serve` running, and "
            "with this server? `prefect deployment ls` lists what there is"
        )
    logger.error(help_message)
    raise ObjectNotFound(ValueError(name), help_message)
