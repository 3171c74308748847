"""Processes that run trials, and the one that watches them."""
