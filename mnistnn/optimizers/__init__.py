"""One optimizer a file. They see flat vectors only."""
