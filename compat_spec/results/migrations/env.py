"""Run by Alembic: migrates on the connection, and inside the transaction, of `compat_spec.results.schema`."""

from alembic import context

from compat_spec.results.schema import VERSION_TABLE
from compat_spec.results.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
    render_as_batch=True,
)
context.run_migrations()
