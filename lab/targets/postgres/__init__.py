"""PostgreSQL as a database under study, on the embedded server."""
