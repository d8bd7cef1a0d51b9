"""The command group `virtscale replay`: each command stands in a module of its own and is put in here."""

from cyclopts import App

from virtscale.replaying import copies, report, statement, trace, views, whatif, why

replay = App(
    name="replay",
    help="The ledger read back: views built anew, as they were at any moment, and why.",
)
views.register(replay)
why.register(replay)
trace.register(replay)
whatif.register(replay)
report.register(replay)
statement.register(replay)
copies.register(replay)
