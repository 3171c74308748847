"""What is wrong with a study, and what mends it: its trials, files, runs and artifacts held against each other."""
