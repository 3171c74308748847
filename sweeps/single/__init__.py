"""One net outside a study: trained, kept under its name, and asked for digits."""
