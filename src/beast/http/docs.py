"""GET /openapi.json and GET /docs: the description, for programs and for people, without a network."""

from html import escape
from typing import Any

from litestar import Request
from litestar.openapi.plugins import OpenAPIRenderPlugin

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem; }}
code {{ font: 0.9em ui-monospace, monospace; }}
h2 code {{ font-size: 1em; }}
table {{ border-collapse: collapse; }}
td, th {{ text-align: left; padding: 0.2rem 1rem 0.2rem 0; vertical-align: top; }}
section {{ border-top: 1px solid #8886; }}
</style></head><body>
<h1>{title} <small>{version}</small></h1>
<p>{description}</p>
<p>For programs: <a href="/openapi.json">/openapi.json</a></p>
{operations}
</body></html>
"""


class DocsPage(OpenAPIRenderPlugin):
    """Renders the description as one plain page that loads nothing else."""

    def __init__(self) -> None:
        super().__init__(path="/")

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:  # noqa: ARG002
        """The page."""
        info = openapi_schema["info"]
        operations = [
            _operation(method, path, operation)
            for path, item in sorted(openapi_schema["paths"].items())
            for method, operation in item.items()
        ]
        page = _PAGE.format(
            title=escape(info["title"]),
            version=escape(info["version"]),
            description=escape(info.get("description", "")),
            operations="\n".join(operations),
        )
        return page.encode()


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    rows = [
        (parameter["name"], parameter["schema"].get("type", ""), parameter.get("description", ""))
        for parameter in operation.get("parameters") or ()
    ]
    body = operation.get("requestBody") or {"content": {}}
    for content in body["content"].values():
        rows += [
            (name, schema.get("type", ""), schema.get("description", ""))
            for name, schema in content["schema"].get("properties", {}).items()
        ]
    answers = [
        (status, "", response.get("description", "")) for status, response in operation.get("responses", {}).items()
    ]
    return (
        f"<section><h2><code>{method.upper()} {escape(path)}</code></h2>"
        f"<p>{escape(operation.get('description', ''))}</p>"
        f"{_table('Parameter', rows)}{_table('Status', answers)}</section>"
    )


def _table(title: str, rows: list[tuple[str, str, str]]) -> str:
    if not rows:
        return ""
    lines = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{escape(str(kind))}</td><td>{escape(text)}</td></tr>"
        for name, kind, text in rows
    )
    return f"<table><tr><th>{title}</th><th></th><th></th></tr>{lines}</table>"
