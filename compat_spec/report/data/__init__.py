"""What the report asks of the results: small tables, as plain data."""
