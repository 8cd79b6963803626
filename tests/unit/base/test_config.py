from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from beast.base.config import SETTINGS, Config
from beast.base.config_sources import admin_key, load_config
from beast.base.errors import EXIT_USAGE, BeastError, UsageError

DOCUMENT = Path(__file__).parents[3] / "docs" / "configuration.md"


def write(folder: Path, text: str) -> Path:
    path = folder / "beast.toml"
    path.write_text(text)
    return path


def test_defaults_are_complete_and_say_so() -> None:
    loaded = load_config(environ={})
    assert loaded.config == Config()
    assert set(loaded.origins.values()) == {"default"}
    assert set(loaded.origins) == set(SETTINGS)


def test_the_later_source_wins(tmp_path: Path) -> None:
    file = write(tmp_path, 'http_port = 1\nudp_port = 1\nhealth_port = 1\nnode = "file"\n')
    environ = {"BEAST_SECRET_ID": "s", "BEAST_HEALTH_PORT": "3", "BEAST_NODE": "environment", "BEAST_CONFIG": str(file)}
    secrets = {"udp_port": "2", "health_port": "2", "node": "secret"}
    loaded = load_config({"node": "line", "host": None}, environ=environ, secret_source=lambda _: secrets)
    config = loaded.config
    assert (config.http_port, config.udp_port, config.health_port, config.node) == (1, 2, 3, "line")
    told = [loaded.origins[name] for name in ("http_port", "udp_port", "health_port", "node", "host")]
    assert told == [f"file {file}", "secret s", "environment BEAST_HEALTH_PORT", "command line", "default"]


def test_the_command_line_names_the_file_before_the_environment(tmp_path: Path) -> None:
    file = write(tmp_path, "http_port = 5")
    assert load_config(file=file, environ={"BEAST_CONFIG": "/nonexistent"}).config.http_port == 5


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=lambda setting: setting.name)
def test_every_setting_can_come_from_the_environment(setting: object) -> None:
    name, variable = setting.name, setting.variable  # type: ignore[attr-defined]
    values = {"bool": "true", "int": "1024", "float": "1.5", "Path": "/x", "str": "x" * 16}
    special = {
        "server_type": "WEBHOOK_SERVER",
        "feeds": "sim",
        "log_level": "debug",
        "log_format": "json",
        "udp_buffer": "65536",
        "workers": "3",
        "spin_us": "7",
        "database_url": "postgresql://h/d",
        "redis_url": "redis://h",
        "usage_queue": "folder:/q",
        "usage_queue_url": "https://sqs.eu-west-1.amazonaws.com/1/q",
    }
    text = special.get(name) or values[type(getattr(Config(), name)).__name__.removeprefix("Posix")]
    loaded = load_config(environ={variable: text})
    assert str(getattr(loaded.config, name)).lower() == text.lower()
    assert loaded.origins[name] == f"environment {variable}"


def test_an_empty_variable_is_not_set() -> None:
    assert load_config(environ={"DATABASE_URL": "", "BEAST_HTTP_PORT": ""}).origins["http_port"] == "default"


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"BEAST_HTTP_PORT": "65536"}, ["BEAST_HTTP_PORT", "http_port", "65536", "0 to 65535"]),
        ({"BEAST_HTTP_PORT": "80x"}, ["http_port", "80x"]),
        ({"BEAST_PIN": "perhaps"}, ["pin", "perhaps", "true or false"]),
        ({"SERVER_TYPE": "SERVER"}, ["SERVER_TYPE", "APP_SERVER, REPORT_SERVER"]),
        ({"BEAST_HTP_PORT": "1"}, ["unknown setting BEAST_HTP_PORT", "did you mean BEAST_HTTP_PORT?"]),
        ({"BEAST_DATABASE_URL": "postgresql://x"}, ["did you mean DATABASE_URL?"]),
        ({"BEAST_NODE": 'a"b'}, ["node", "letters"]),
        ({"BEAST_NODE": "x\n"}, ["node"]),
        ({"BEAST_ADMIN_KEY": "short"}, ["admin_key", "16 to 128"]),
    ],
)
def test_a_bad_variable_stops_the_start_with_one_clear_line(environ: dict[str, str], told: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        load_config(environ=environ)
    assert caught.value.exit_code == EXIT_USAGE
    assert "\n" not in str(caught.value)
    for part in told:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("http_port = '80'", "http_port = '80' is not allowed"),
        ("http_port = 80.5", "http_port = 80.5"),
        ("http_port = true", "http_port = True"),
        ("port = 80", "unknown setting port"),
        ("[http]\nport = 80", "unknown setting http"),
        ("http_port = ", "is not TOML"),
        ("\xff", "is not TOML"),
    ],
)
def test_a_bad_file_stops_the_start_and_is_named(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "beast.toml"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError, match=str(file)) as caught:
        load_config(file=file, environ={})
    assert told in str(caught.value)


def test_a_missing_file_stops_the_start() -> None:
    with pytest.raises(UsageError, match=r"/nonexistent/x\.toml: can't be read"):
        load_config(file=Path("/nonexistent/x.toml"), environ={})


def test_secrets_are_shown_nowhere() -> None:
    url = "postgresql://user:hidden-password@host/db"
    loaded = load_config(environ={"DATABASE_URL": url, "STRIPE_API_KEY": "sk_live_x", "BEAST_ADMIN_KEY": "k" * 20})
    assert loaded.config.database_url == url
    shown = loaded.shown()
    assert [shown[name] for name in ("database_url", "stripe_api_key", "admin_key", "redis_url")] == ["***"] * 3 + [""]
    with pytest.raises(UsageError) as caught:
        load_config(environ={"DATABASE_URL": "mysql://user:hidden-password@host/db"})
    assert "hidden-password" not in str(caught.value)


@given(st.dictionaries(st.sampled_from([s.variable for s in SETTINGS.values()]), st.text()))
@example({"BEAST_HOME": "~nobody-of-this-name"})
def test_whatever_the_environment_holds_is_taken_or_refused_clearly(environ: dict[str, str]) -> None:
    told = ""
    try:
        assert set(load_config(environ=environ).shown()) == set(SETTINGS)
    except BeastError as error:
        told = str(error)
    assert "\n" not in told


def test_the_admin_key_is_made_once_and_kept_closed(tmp_path: Path) -> None:
    config = Config(home=tmp_path / "home")
    key = admin_key(config)
    assert len(key) >= 40
    assert admin_key(config) == key
    assert (tmp_path / "home" / "admin_key").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["admin_key"]
    assert admin_key(Config(home=tmp_path, admin_key="k" * 16)) == "k" * 16


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=lambda setting: setting.name)
def test_every_setting_is_documented_as_it_is(setting: object) -> None:
    name, variable = setting.name, setting.variable  # type: ignore[attr-defined]
    rows = [line for line in DOCUMENT.read_text().splitlines() if line.startswith(f"| `{name}` | `{variable}` |")]
    assert len(rows) == 1
    assert f"| {setting.allowed} | {setting.description}" in rows[0]  # type: ignore[attr-defined]
    default = getattr(Config(), name)
    shown = str(default).lower() if isinstance(default, bool) else str(default)
    assert (
        name in {"home", "node", "region", "workers"}
        or f"| `{shown}` |" in rows[0]
        or (default == "" and "| none |" in rows[0])
    )
