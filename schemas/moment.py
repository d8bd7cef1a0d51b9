"""An instant, which always says that it is UTC."""

import datetime as dt
from typing import Annotated

import msgspec

Moment = Annotated[dt.datetime, msgspec.Meta(tz=True)]
"""An instant in UTC; a naive datetime is refused."""
