"""What a gateway is made of, computed before anything is written or started.

From a profile and an environment: the files, the keys, and the environment of the process.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Container, Mapping
from contextlib import suppress
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import NamedTuple

from llmswitch import __version__
from llmswitch.errors import LlmswitchError
from llmswitch.paths import LOOPBACK, Home, ProfileRef
from llmswitch.profile.load import load_profile
from llmswitch.profile.schema import Gateway, Profile
from llmswitch.profile.secrets import find_keys, fingerprint, inside_name
from llmswitch.render.litellm_config import (
    GATEWAY_KEY,
    named_in_engine,
    named_variables,
    render_gunicorn_conf,
    render_litellm_config,
)
from llmswitch.render.menu import Menu, make_menu
from llmswitch.run_files import CONFIG

# What a process needs of its surroundings, and no more: no key and no URL of someone else's.
_PASSED_ON = [
    "HOME",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "LOGNAME",
    "PATH",
    "TMPDIR",
    "TZ",
    "USER",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "ALL_PROXY",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "all_proxy",
    "https_proxy",
    "http_proxy",
]
# LiteLLM (1.108.7, 1.110.2) fetches and sends nothing by itself, and makes no request by its parts
# in Rust: engine/patches.py does not reach them.
_LITELLM = {
    "DISABLE_ADMIN_UI": "True",
    "LITELLM_DISABLE_BUG_REPORT_LINK": "True",  # else its errors invite to its own tracker
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_LOCAL_AUTOROUTER_PRESETS": "True",
    "LITELLM_LOCAL_BLOG_POSTS": "True",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_POLICY_TEMPLATES": "True",
    "LITELLM_LOG": "ERROR",  # its warnings are of a server that many people sign in to
    "LITELLM_MODE": "PRODUCTION",  # else it loads any .env that it finds above its own folder
    "LITELLM_OFFLINE_MODE": "True",  # from 1.110 on: all of its own fetching
    "LITELLM_RUST": "False",
    "LITELLM_TELEMETRY_DISABLED": "True",
    "MALLOC_ARENA_MAX": "2",  # glibc would keep most of what large requests have taken
    "MALLOC_MMAP_THRESHOLD_": "1000000",
    "NO_DOCS": "True",
    "NO_OPENAPI": "True",
    "NO_REDOC": "True",
    "PYTHONUNBUFFERED": "1",
}


class RenderedFiles(NamedTuple):
    """Everything that a gateway is started with, rendered from a profile; nothing is written yet.

    `keys` are the values of the models' keys by the name of their variable, `named` those of the
    variables that the engine reads under their own names.
    """

    ref: ProfileRef
    profile: Profile
    menu: Menu
    config: str
    conf: str
    keys: dict[str, str]
    named: dict[str, str]
    profile_sha256: str

    @property
    def config_sha256(self) -> str:
        """Tells whether a running gateway has this very configuration."""
        return hashlib.sha256(f"{self.config}\0{self.conf}".encode()).hexdigest()


class Plan(NamedTuple):
    """The rendered files, where llmswitch's own files are, and the gateway's own key."""

    rendered: RenderedFiles
    home: Home
    own_key: str

    @property
    def run(self) -> Path:
        """The folder of everything generated for the profile."""
        return self.home.run(self.rendered.ref)

    def fingerprints(self) -> dict[str, str]:
        """One digest for each secret that the gateway is given."""
        given = self.rendered.keys | self.rendered.named | {GATEWAY_KEY: self.own_key}
        return {name: fingerprint(value, self.own_key) for name, value in given.items()}

    @property
    def listens(self) -> Gateway:
        """Where the gateway listens."""
        return self.rendered.profile.gateway


def render(ref: ProfileRef, keys: Mapping[str, str], held: Container[str] = ()) -> RenderedFiles:
    """Load the profile and render everything, writing nothing. `keys` are all that are set, by
    the names of their variables. `held` are the names of others that count as set, without their
    values: what a running gateway has already, so that `up` from another shell takes no model
    away, and what the keyring holds, where nothing is started.

    Raises LlmswitchError for whatever would keep the gateway from starting.
    """
    profile = load_profile(ref.file, shown_path(ref.file))
    wanted = profile.key_names
    found = find_keys(wanted, keys)
    menu = make_menu(profile, {name for name in wanted if name in found or name in held})
    password = profile.cache.key if profile.cache else None
    if password:
        found |= find_keys([password], keys)
        if password not in found and password not in held:
            raise LlmswitchError(
                f"{password} is not set, and the cache of the profile needs it",
                f"export {password}=...    (or take `key:` out of `cache:`)",
            )
    named = named_variables(profile, menu)
    values = find_keys(named, keys)
    given = {*values, *(name for name in named if name in held)}
    if lacking := sorted(name for name in named_in_engine(profile) if name not in given):
        raise LlmswitchError(
            f"{lacking[0]} is not set, and the `litellm:` part of the profile needs it",
            f"export {lacking[0]}=...    (or take os.environ/{lacking[0]} out)",
        )
    return RenderedFiles(
        ref=ref,
        profile=profile,
        menu=menu,
        config=render_litellm_config(profile, menu, ref.name),
        conf=render_gunicorn_conf(profile, ref.name),
        keys=found,
        named=values,
        profile_sha256=hashlib.sha256(ref.file.read_bytes()).hexdigest(),
    )


def shown_path(file: Path) -> str:
    """A path as short as a person would write it: below this folder, or below `~`."""
    bases = [(Path.home(), "~/")]
    with suppress(FileNotFoundError):  # the folder that one stands in may be gone
        bases.insert(0, (Path.cwd(), ""))
    for base, prefix in bases:
        if file.is_relative_to(base):
            return prefix + str(file.relative_to(base))
    return str(file)


def identity(plan: Plan) -> tuple[str, int, str, str]:
    """What only a new process can change."""
    return plan.listens.host, plan.listens.port, __version__, installed_version("litellm")


def environment(plan: Plan, environ: Mapping[str, str], verbose: bool = False) -> dict[str, str]:
    """The gateway's environment, built from nothing."""
    result = {name: environ[name] for name in _PASSED_ON if name in environ}
    ours = environ.get("NO_PROXY") or environ.get("no_proxy")
    result["NO_PROXY"] = result["no_proxy"] = f"{ours},{LOOPBACK}" if ours else LOOPBACK
    if sys.platform == "darwin":  # forking after an import is refused there without this
        result["OBJC_DISABLE_INITIALIZE_FORK_SAFETY"] = "YES"
    result |= _LITELLM | {
        "CONFIG_FILE_PATH": str(plan.run / CONFIG),
        "LLMSWITCH_CLIENTS": str(plan.home.client_keys),
        "LLMSWITCH_LEDGER": str(plan.home.ledger(plan.rendered.ref)),
        "LLMSWITCH_PROFILE": plan.rendered.ref.argument,  # for the cures that are told
    }
    if verbose:
        del result["LITELLM_LOG"]
        result["LLMSWITCH_VERBOSE"] = "1"
    return result | secrets_inside(plan)


def secrets_inside(plan: Plan) -> dict[str, str]:
    """Every secret of the gateway's environment, under the names that it has in there."""
    keys = {inside_name(name): key for name, key in plan.rendered.keys.items()}
    return keys | plan.rendered.named | {GATEWAY_KEY: plan.own_key}
