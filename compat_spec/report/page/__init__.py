"""The page: the verdict in words, the template, its looks."""
