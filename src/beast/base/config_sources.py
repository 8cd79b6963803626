"""Builds the Config: defaults, TOML file, Secrets Manager, environment, command line; the later wins."""

import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path

import msgspec

from beast.base.config import SETTINGS, Config
from beast.base.errors import UsageError
from beast.base.home import kept_secret, make_home
from beast.base.log import MASK
from beast.base.secrets_manager import fetch_secret

# Variables of the same prefix that are no settings: client commands, the build and the tests read them.
_NOT_SETTINGS = {
    "BEAST_CONFIG",
    "BEAST_SECRET_ID",
    "BEAST_SERVER",
    "BEAST_API_KEY",
    "BEAST_SANITIZE",
    "BEAST_COVERAGE",
    "BEAST_FRAMES_DIR",
}
_BY_VARIABLE = {setting.variable: setting for setting in SETTINGS.values()}


class LoadedConfig(msgspec.Struct, frozen=True):
    """The effective settings and where each came from."""

    config: Config
    origins: dict[str, str]
    """Setting to source: `default`, `file PATH`, `secret ID`, `environment VARIABLE` or `command line`."""

    def shown(self) -> dict[str, object]:
        """Every value as it may be shown: secrets masked."""
        values: dict[str, object] = {}
        for name, setting in SETTINGS.items():
            value = getattr(self.config, name)
            values[name] = MASK if setting.secret and value else str(value) if isinstance(value, Path) else value
        return values


def load_config(
    overrides: Mapping[str, object] | None = None,
    *,
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    secret_source: Callable[[str], Mapping[str, str]] = fetch_secret,
) -> LoadedConfig:
    """Reads all sources and checks every value.

    Args:
        overrides: Settings from the command line; None values were not given.
        file: The TOML file (`--config`); else BEAST_CONFIG names it.
        environ: The environment, os.environ unless given.
        secret_source: Fetches the settings kept under BEAST_SECRET_ID.

    Raises:
        UsageError: An unknown key or a bad value; names key, value, allowed range and source.
    """
    given = _given(overrides or {}, file, os.environ if environ is None else environ, secret_source)
    values: dict[str, object] = {}
    origins = dict.fromkeys(SETTINGS, "default")
    for name, raw, origin, strict in given:
        values[name] = _checked(name, raw, origin, strict=strict)
        origins[name] = origin
    return LoadedConfig(config=msgspec.convert(values, Config, dec_hook=_decode), origins=origins)


def _given(
    overrides: Mapping[str, object],
    file: Path | None,
    environ: Mapping[str, str],
    secret_source: Callable[[str], Mapping[str, str]],
) -> Iterator[tuple[str, object, str, bool]]:
    """Every (name, value, origin, whether its type must be exact), the later source later."""
    path = file or (Path(environ["BEAST_CONFIG"]) if environ.get("BEAST_CONFIG") else None)
    if path is not None:
        yield from ((name, raw, f"file {path}", True) for name, raw in _read_toml(path).items())
    if secret_id := environ.get("BEAST_SECRET_ID"):
        yield from ((name, text, f"secret {secret_id}", False) for name, text in secret_source(secret_id).items())
    for variable, text in sorted(environ.items()):
        setting = _BY_VARIABLE.get(variable)
        if setting and text:
            yield setting.name, text, f"environment {variable}", False
        elif not setting and variable.startswith("BEAST_") and variable not in _NOT_SETTINGS:
            raise _unknown(variable, "environment", _BY_VARIABLE)
    yield from ((name, raw, "command line", False) for name, raw in overrides.items() if raw is not None)


def admin_key(config: Config) -> str:
    """The admin key: the configured one, or the one made once and kept in the home.

    Raises:
        BeastError: The home can't be written.
    """
    return config.admin_key or kept_secret(make_home(config.home) / "admin_key")


def _read_toml(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"can't be read: {error.strerror}", where=str(path)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"is not TOML: {error}", where=str(path)) from error


def _unknown(name: str, origin: str, known: Mapping[str, object]) -> UsageError:
    close = get_close_matches(name, known, n=1) or get_close_matches(name.removeprefix("BEAST_"), known, n=1)
    hint = f"did you mean {close[0]}?" if close else "docs/configuration.md lists all settings"
    return UsageError(f"unknown setting {name}", where=origin, todo=hint)


def _checked(name: str, raw: object, origin: str, *, strict: bool) -> object:
    setting = SETTINGS.get(name)
    if setting is None:
        raise _unknown(name, origin, SETTINGS)
    try:
        return msgspec.convert(raw, setting.type, strict=strict, dec_hook=_decode)
    except (msgspec.ValidationError, ValueError) as error:
        shown = MASK if setting.secret else repr(raw)
        raise UsageError(
            f"{name} = {shown} is not allowed", where=origin, todo=f"allowed: {setting.allowed}"
        ) from error


def _decode(kind: type, raw: object) -> object:
    # The one type that msgspec doesn't know.
    assert kind is Path
    if not isinstance(raw, Path) and (not isinstance(raw, str) or not raw):
        raise ValueError("a path is text")
    try:
        return Path(raw).expanduser().absolute()
    except RuntimeError as error:  # ~ of a user whom nobody knows
        raise ValueError(str(error)) from None
