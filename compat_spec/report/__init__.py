"""What is made of results for people to look at."""
