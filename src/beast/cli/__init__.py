"""The command line. A command's module is imported only when that command is used."""

from importlib.metadata import version

from cyclopts import App

app = App(
    name="beast",
    help="A self-hosted crypto price server: every exchange's latest trade, by UDP and HTTP.",
    version=lambda: version("trinity-beast"),
    help_epilogue="beast COMMAND --help shows examples. Start with: beast serve --demo",
    help_format="plaintext",
    result_action="return_value",
)

for _name, _help in (
    ("serve", "Run the server."),
    ("price", "Ask a running server for prices."),
    ("why", "Explain an asset's price: every source, and which one answers."),
    ("stress", "Load a server of your own, check every answer, give a verdict."),
    ("status", "Show what the server on this home is doing."),
    ("sim", "Run the exchange simulator alone."),
    ("record", "Record what the exchanges send."),
    ("replay", "Play a recording: the same prices, byte for byte."),
    ("feeds", "List, show, check, import and export the exchanges."),
    ("eam", "Sync, audit and extend the exchange asset map."),
    ("keys", "Make, list, change, rotate, pause and revoke API keys."),
    ("users", "Add, list and change users."),
    ("tiers", "List, show and change the tiers of API keys."),
    ("audit", "Show the audit log: who changed what."),
    ("insights", "Sum usage up, look into the database, ask it in SQL."),
    ("report", "Show what was answered: by asset, day, exchange and more."),
    ("usage", "Show what was answered, and verify that all of it is booked, once."),
    ("consume", "Book the usage that waits in a queue."),
    ("profile", "Show and apply the named sets of application parameters."),
    ("db", "Migrate the database, or get into it."),
    ("config", "Show the effective settings and where each came from."),
):
    app.command(f"beast.cli.{_name}:app", name=_name, help=_help)
