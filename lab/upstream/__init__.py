"""The PostgreSQL whose published tables a source reads."""
