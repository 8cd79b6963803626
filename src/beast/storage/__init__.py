"""PostgreSQL: the pool, named statements, migrations, and the embedded server of a bare machine."""
