"""Projects that the command line writes, and the templates that they are made from."""
